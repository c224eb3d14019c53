"""Recording demonstrations by scripted controllers: `laminar collect task=pointmaze episodes=200 out=FILE`."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ..data.episodes import Episodes
from ..data.formats import d4rl
from ..errors import LaminarError, Stopped, nearest
from ..overwriting import check_files
from ..progress import Progress, silent
from ..settings import check_seeds
from .ids import split_id
from .make import make_env
from .step_cap import assumed_cap, cap_remark
from .suites import SUITES, suite_of


def collect(
    env_id: str, episodes: int, seed: int, out: str | Path, overwrite: bool = False, progress: Progress = silent
) -> str:
    """Record demonstrations of a built-in task into an HDF5 file of D4RL's layout.

    Args:
        env_id: an environment of a suite that has a `collect`, maybe with arguments.
        episodes: number of episodes.
        seed: the same seed records the same file.
        out: path of the file.
        overwrite: replace a file that is there, unless it is read-only.
        progress: follows the episodes, where the suite's `collect` takes a `watch`.

    Returns:
        A line that tells what was written.

    Raises:
        LaminarError: an environment without a controller, no episodes asked for, or a file that is there already.
        Stopped: by Ctrl-C; the episodes that were complete by then are in the file, if there is any.
    """
    name, _ = split_id(env_id)
    record = getattr(suite_of(name), "collect", None)
    if record is None:
        known = _recordable()
        listed = f"there are controllers for {', '.join(known)}"
        raise LaminarError(f"'{name}' has no controller to record; {listed}{nearest(name, known)}")
    if episodes < 1:
        raise LaminarError(f"episodes must be at least 1, got {episodes}")
    check_seeds(seed, seed + episodes - 1)
    path = Path(out)
    check_files(
        [path], overwrite
    )  # recordings are never replaced unasked: a run of this command cannot make them again
    env = make_env(env_id)
    try:
        with progress(episodes) as watch:
            further: dict[str, Any] = {"watch": watch} if "watch" in signature(record).parameters else {}
            recorded: Episodes = record(env, episodes, seed, **further)
        cap = assumed_cap(env)
    except KeyboardInterrupt as stop:
        raise Stopped(message=f"interrupted before an episode was complete; nothing was written to {out}") from stop
    finally:
        env.close()
    lengths = np.diff(recorded.ends, prepend=0)
    if cap is not None and (lengths >= cap).any():
        recorded.remarks.append(cap_remark(env_id, cap, len(lengths), int((lengths >= cap).sum())))
    path.parent.mkdir(parents=True, exist_ok=True)
    d4rl.write(path, recorded)
    done = "" if recorded.success is None else f", {recorded.success.mean():.0%} successful"
    remarks = "".join(f"; {remark}" for remark in recorded.remarks)
    told = f"{path}: {recorded.num_episodes} episodes, {len(recorded)} steps{done}{remarks}"
    if recorded.num_episodes < episodes:
        raise Stopped(message=f"interrupted: {recorded.num_episodes} of {episodes} episodes are kept; {told}")
    return told


def _recordable() -> list[str]:
    suites = [SUITES.module(name) for name in SUITES.names()]
    return [env_id for suite in suites if hasattr(suite, "collect") for env_id in suite.ids()]
