"""One factory for every environment; which suite makes it follows from the id."""

from __future__ import annotations

from typing import Any

import gymnasium

from ..progress import tell
from .creation import register_robotics
from .ids import split_id, without
from .rendering import backend_remark, choose_backend
from .spec import control_rate, env_spec, with_flat_keys
from .step_cap import SETTING, StepCap, check_limit, with_end
from .suites import SUITES, suite_of

__all__ = ["control_rate", "env_spec", "make_env", "register", "split_id"]


def make_env(env_id: str, render: bool = False) -> gymnasium.Env[Any, Any]:
    """Make one environment from the id of any suite: gymnasium's, D4RL's, laminar's own, or a user's.

    Observations are a flat Box, or a Dict without nesting whose keys are those that recordings of the environment have.
    D4RL ids, and gymnasium ids of the Adroit hand, give the benchmark's observation and reward (see `suites.d4rl`).
    Episodes end: where neither gymnasium nor the argument `max_episode_steps` limits them, see `step_cap`.

    Args:
        env_id: for example "Hopper-v4", "door-human-v1", "laminar/Playroom-v0?scene=D"; see `split_id`.
        render: make environments without a MuJoCo model able to give pictures.

    Raises:
        LaminarError: unknown id or argument, an id that no installed package can run, or an unsupported space.
    """
    register()
    name, arguments = split_id(env_id)
    if name not in gymnasium.registry and ":" not in name:
        register_robotics()
    if SETTING in arguments:
        check_limit(env_id, arguments[SETTING])
    env = adopt_env(_make(env_id, name, arguments, render))
    remark = backend_remark()
    if remark:
        tell(remark)
    return env


def adopt_env(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Return somebody's environment as one of `make_env`: one level of keys, and episodes that end.

    Raises:
        LaminarError: an unsupported space; it is refused here, not in the middle of an evaluation.
    """
    env = with_flat_keys(with_end(env))
    env_spec(env)
    return env


def _make(env_id: str, name: str, arguments: dict[str, Any], render: bool) -> gymnasium.Env[Any, Any]:
    suite = suite_of(name)
    try:
        return suite.make(env_id, render)
    except TypeError as error:
        if SETTING not in arguments or SETTING not in str(error):
            raise
    # a user's suite that does not make its environments through gymnasium
    return StepCap(suite.make(without(env_id, SETTING), render), arguments[SETTING], assumed=False)


def register() -> None:
    """Register with gymnasium, once, what the suites want registered; cheap, no simulator is imported."""
    choose_backend()
    for name in SUITES.names():
        own = getattr(SUITES.module(name), "register", None)
        if own is not None:
            own()
