"""OGBench's tasks with a reward, `scene-play-singletask-task1-v0`; needs the extra `ogbench`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium

from ..creation import create
from ..ids import split_id
from ..ogbench.library import load
from ..ogbench.names import all_ids, parse


def ids() -> Iterable[str]:
    """Return OGBench's ids, with and without the kind of data in them."""
    return all_ids()


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make a task."""
    asked, arguments = split_id(env_id)
    name = parse(asked)
    assert name is not None
    load(asked)
    return create(name.env_id, arguments, render)
