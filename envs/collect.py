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


def collect(task: str, episodes: int, seed: int, out: str | Path) -> str:
    """Record demonstrations of a built-in task into an HDF5 file of D4RL's layout.

    Args:
        task: a name in `TASKS`, or the task's environment id.
        episodes: number of episodes.
        seed: the same seed records the same file.
        out: path of the file.

    Returns:
        A line that tells what was written.

    Raises:
        LaminarError: unknown task, or no episodes asked for.
    """
    names = {task: task for task in TASKS} | {env_id: task for task, (env_id, _) in TASKS.items()}
    if task not in names:
        known = f"there are controllers for {sorted(TASKS)}"
        raise LaminarError(f"'{task}' has no controller to record; {known}{nearest(task, names)}")
    if episodes < 1:
        raise LaminarError(f"episodes must be at least 1, got {episodes}")
    if seed < 0:
        raise LaminarError(f"seed must be at least 0, got {seed}")
    env_id, record = TASKS[names[task]]
    env = make_env(env_id)
    try:
        recorded = record(env, episodes, seed)
    finally:
        env.close()
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    d4rl.write(path, recorded)
    done = "" if recorded.success is None else f", {recorded.success.mean():.0%} successful"
    return f"{path}: {recorded.num_episodes} episodes, {len(recorded)} steps{done}"
