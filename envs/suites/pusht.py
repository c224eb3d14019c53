"""PushT of the package gym-pusht, see `laminar.envs.pusht`; needs the extra `pusht`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import gymnasium

from ...errors import LaminarError
from ..creation import create
from ..ids import split_id
from ..packages import require
from ..pusht import InBlockFrame, PushT

ENV_ID = "gym_pusht/PushT-v0"
# 0.1.8 is the release that was tried; pymunk 7 has no `add_collision_handler`, which it calls
NEEDED = {"gym-pusht": ">=0.1.8,<0.2", "pymunk": "<7"}


def ids() -> Iterable[str]:
    """Return the one id."""
    return [ENV_ID]


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make PushT.

    Without arguments it shows a state (5,), with `?obs_type=pixels_agent_pos` pictures and the pusher, and with
    `?frame=block` the state in the frame of the block, in which its actions are then, too.

    Raises:
        LaminarError: it is not installed, in another release than it needs, or has no such argument.
    """
    _, arguments = split_id(env_id)
    require(ENV_ID, "pusht", NEEDED)
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # a line on the standard output of every process
    import_module("gym_pusht")  # registers itself
    frame = arguments.pop("frame", None)
    if frame is None:
        return PushT(create(ENV_ID, arguments, render))
    if frame != "block" or "obs_type" in arguments:
        raise LaminarError(f"environment '{env_id}' cannot be made: frame can only be block, and goes without obs_type")
    return InBlockFrame(PushT(create(ENV_ID, arguments, render)))
