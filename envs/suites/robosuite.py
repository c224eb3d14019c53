"""Tasks of robosuite, see `laminar.envs.robosuite`; needs the extra `robosuite`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit

from ..creation import make_own, register_own
from ..packages import require
from ..rendering import load_mujoco

# those of robomimic's and MimicGen's files that robosuite itself has
TASKS = (
    *("Lift", "Stack", "Door", "Wipe", "PickPlaceCan", "NutAssemblySquare", "NutAssemblyRound", "ToolHang"),
    *("TwoArmLift", "TwoArmPegInHole", "TwoArmHandover", "TwoArmTransport"),
)
# 1.5.2 is the release that was tried; it calls `mj_fullM` as MuJoCo has it until 3.8
NEEDED = {"robosuite": ">=1.5.2,<1.6", "mujoco": ">=3.3,<3.9"}


def ids() -> Iterable[str]:
    """Return an id for each task, without a version."""
    return [f"robosuite/{task}" for task in TASKS]


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make a task; see `Robosuite` for its arguments.

    Raises:
        LaminarError: it is not installed, in another release than it needs, or an argument makes no sense.
    """
    require(env_id.partition("?")[0], "robosuite", NEEDED)
    load_mujoco()
    env: Any = make_own(env_id, render)
    return TimeLimit(env, env.unwrapped.horizon)  # robosuite's own, where gymnasium's users look for it


def register() -> None:
    """Register the tasks; robosuite is imported when one is made."""
    for task, env_id in zip(TASKS, ids(), strict=True):
        register_own(env_id, "robosuite:Robosuite", task=task)
