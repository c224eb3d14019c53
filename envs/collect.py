"""Recording demonstrations by scripted controllers: `laminar collect task=pointmaze episodes=200 out=FILE`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium

from ..data.episodes import Episodes
from ..data.formats import d4rl
from ..errors import LaminarError, nearest
from . import pointmaze
from .make import make_env, split_id
from .playroom import demonstrations

Collector = Callable[[gymnasium.Env[Any, Any], int, int], Episodes]

COLLECTORS: dict[str, Collector] = {  # environment id without arguments -> what records demonstrations in it
    pointmaze.ENV_ID: pointmaze.collect,
    demonstrations.ENV_ID: demonstrations.collect,
}


def is_play(env_id: str) -> bool:
    """Tell whether an environment is the playroom without a task: there is nothing to demonstrate, but much to do."""
    name, arguments = split_id(env_id)
    return name == demonstrations.ENV_ID and arguments.get("task") is None


def collect(env_id: str, episodes: int, seed: int, out: str | Path) -> str:
    """Record demonstrations of a built-in task into an HDF5 file of D4RL's layout.

    Args:
        env_id: an environment in `COLLECTORS`, maybe with arguments.
        episodes: number of episodes.
        seed: the same seed records the same file.
        out: path of the file.

    Returns:
        A line that tells what was written.

    Raises:
        LaminarError: an environment without a controller, or no episodes asked for.
    """
    name, _ = split_id(env_id)
    if name not in COLLECTORS:
        known = f"there are controllers for {', '.join(COLLECTORS)}"
        raise LaminarError(f"'{name}' has no controller to record; {known}{nearest(name, COLLECTORS)}")
    if episodes < 1:
        raise LaminarError(f"episodes must be at least 1, got {episodes}")
    if seed < 0:
        raise LaminarError(f"seed must be at least 0, got {seed}")
    env = make_env(env_id)
    try:
        recorded = COLLECTORS[name](env, episodes, seed)
    finally:
        env.close()
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    d4rl.write(path, recorded)
    done = "" if recorded.success is None else f", {recorded.success.mean():.0%} successful"
    remarks = "".join(f"; {remark}" for remark in recorded.remarks)
    return f"{path}: {recorded.num_episodes} episodes, {len(recorded)} steps{done}{remarks}"
