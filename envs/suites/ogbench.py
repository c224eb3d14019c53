"""OGBench's tasks with a reward, `scene-play-singletask-task1-v0`; needs the extra `ogbench`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium

from ...errors import LaminarError
from ..ids import split_id
from ..ogbench.names import all_ids, parse
from ..ogbench.task import make_task


def ids() -> Iterable[str]:
    """Return OGBench's ids, with and without the kind of data in them."""
    return all_ids()


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make a task, by its own name or that of its data set.

    Raises:
        LaminarError: OGBench is not installed, or the environment takes no such argument.
    """
    asked, arguments = split_id(env_id)
    name = parse(asked)
    if name is None:
        raise LaminarError(f"'{asked}' is no single task of OGBench")
    return make_task(name, arguments, render)
