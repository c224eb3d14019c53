"""laminar's playroom: CALVIN's tasks on MuJoCo, see `laminar.envs.playroom.env`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium

from ...data.episodes import Episodes
from ...progress import Watch, ignore
from ..creation import make_own, register_own

ENV_ID = "laminar/Playroom-v0"


def ids() -> Iterable[str]:
    """Return the one id."""
    return [ENV_ID]


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make the playroom; see `Playroom` for its arguments."""
    return make_own(env_id, render)


def collect(env: gymnasium.Env[Any, Any], episodes: int, seed: int, watch: Watch = ignore) -> Episodes:
    """Record demonstrations of one task by its scripted expert, here or in CALVIN, see `playroom.demonstrations`."""
    from ..playroom.demonstrations import collect as record  # the experts need MuJoCo

    return record(env, episodes, seed, watch)


def register() -> None:
    """Register the playroom."""
    register_own(ENV_ID, "playroom.env:Playroom")
