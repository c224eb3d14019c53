"""A robot, real or simulated, as an environment: see `laminar.deploy.robot_env`, which the extra `deploy` is for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium

from ..creation import make_own

ENV_ID = "laminar/Robot-v0"
_PACKAGE = __name__.partition(".envs.")[0]


def ids() -> Iterable[str]:
    """Return the one id."""
    return [ENV_ID]


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Connect to a robot; see `RobotEnv` for the arguments."""
    return make_own(env_id)


def register() -> None:
    """Register the robot; the room above is imported when one is made."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(ENV_ID, f"{_PACKAGE}.deploy.robot_env:RobotEnv")
