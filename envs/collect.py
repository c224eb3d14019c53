"""Recording demonstrations of built-in tasks: `laminar collect task=pointmaze episodes=200 out=FILE`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium

from ..data.episodes import Episodes
from ..data.formats import d4rl
from ..errors import LaminarError, nearest
from . import pointmaze
from .make import make_env

Collector = Callable[[gymnasium.Env[Any, Any], int, int], Episodes]

# task -> environment id, and what records demonstrations in it
TASKS: dict[str, tuple[str, Collector]] = {"pointmaze": (pointmaze.ENV_ID, pointmaze.collect)}


def collect(task: str, episodes: int, seed: int, out: str | Path) -> Episodes:
    """Record demonstrations of a built-in task into a D4RL-layout HDF5 file and return them.

    Args:
        task: a name in `TASKS`.
        episodes: number of episodes.
        seed: the same seed records the same file.
        out: path of the file.

    Raises:
        LaminarError: unknown task, or no episodes asked for.
    """
    if task not in TASKS:
        raise LaminarError(f"no demonstrations can be recorded for task '{task}' (only {sorted(TASKS)}){nearest(task, TASKS)}")
    if episodes < 1:
        raise LaminarError(f"episodes must be at least 1, got {episodes}")
    env_id, record = TASKS[task]
    env = make_env(env_id)
    try:
        recorded = record(env, episodes, seed)
    finally:
        env.close()
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    d4rl.write(path, recorded)
    return recorded
