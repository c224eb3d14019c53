"""The genuine CALVIN simulator, see `laminar.envs.calvin`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium

from ..creation import make_own, register_own
from .playroom import collect as collect  # its experts work here as well

ENV_ID = "laminar/CALVIN-v0"


def ids() -> Iterable[str]:
    """Return the one id."""
    return [ENV_ID]


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make CALVIN's environment; see `Calvin` for its arguments."""
    return make_own(env_id, render)


def register() -> None:
    """Register the environment; its simulator is looked for when it is made."""
    register_own(ENV_ID, "calvin:Calvin")
