"""Recording OGBench's play data: `laminar collect task=ogbench/scene-play steps=1000000 out=scene-play-v0.npz`.

Every episode is determined by the seed, its set and its number, so that the data depend neither on the number of
processes nor on how often the work was interrupted. What is finished lies in a folder beside the file until all is.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ...data import npz_joined
from ...errors import LaminarError, Stopped
from ...machine import at_home, follow_parent
from ...overwriting import check_files
from ...progress import Finished, Progress, silent
from ..packages import named, require
from .library import NEEDED
from .names import Name
from .parts import Job, Parts
from .play import EPISODE, Player

Array = NDArray[Any]
_KEPT = 10  # episodes for training to one for validation


@dataclass(frozen=True)
class Play:
    """What an episode depends on, but for its set and number.

    Attributes:
        world: "scene".
        kind: "play" or "noisy".
        seed: of all episodes.
        length: transitions of an episode.
    """

    world: str
    kind: str
    seed: int
    length: int = EPISODE

    def episode(self, job: Job) -> dict[str, Array]:
        """Play one episode."""
        return _player(self.world, self.kind).episode([self.seed, *job], self.length)


def record(
    name: Name,
    steps: int,
    seed: int,
    out: str | Path,
    overwrite: bool = False,
    processes: int | None = None,
    progress: Progress = silent,
    length: int = EPISODE,
) -> str:
    """Record play into a file of OGBench's layout, and a tenth as much into one beside it for validation.

    Run again after an interruption, it goes on where it was; with more steps too, as the first episodes are the same.

    Args:
        name: a world with an arm, with its kind of data.
        steps: transitions for training, rounded up to whole episodes.
        seed: the same seed records the same data.
        out: FILE.npz; the other one is FILE-val.npz.
        overwrite: replace files that are there, unless they are read-only.
        processes: that play at the same time; None means one a processor core.
        progress: follows the transitions.
        length: transitions of an episode.

    Returns:
        What was recorded, as text.

    Raises:
        LaminarError: there is no controller for such data, files that are there already, or a full disk.
        Stopped: by Ctrl-C; finished episodes are kept.
    """
    play, target = _check(name, seed, length), Path(at_home(str(out)))
    if target.suffix != ".npz":
        raise LaminarError(f"out={out}: play of OGBench is recorded into FILE.npz, and FILE-val.npz beside it")
    files = [target, target.with_name(f"{target.stem}-val.npz")]
    check_files(files, overwrite)
    said = asdict(play) | {"simulator": named("ogbench", "mujoco")}
    parts = Parts(target.with_name(f"{target.name}.parts"), said)
    number = -(-steps // length)
    validation = max(1, number // _KEPT)
    jobs = [(0, index) for index in range(number)] + [(1, index) for index in range(validation)]
    _record_missing(play, jobs, parts, processes or os.cpu_count() or 1, progress)
    npz_joined.join({file: [parts.file(job) for job in jobs if job[0] == index] for index, file in enumerate(files)})
    shutil.rmtree(parts.folder)
    return (
        f"{target}: {number * length} steps in {number} episodes, and {validation * length} for validation in "
        f"{files[1].name}, by {named('ogbench', 'mujoco')}"
    )


def _check(name: Name, seed: int, length: int) -> Play:
    """Return what is to be played.

    Raises:
        LaminarError: there are no oracles for it, or OGBench is not installed.
    """
    kind = (name.data or "").removesuffix("-100m")
    if name.is_maze:
        raise LaminarError(
            f"{name.world} has no controller to record: there are some for cube, scene and puzzle, and what walks in "
            "OGBench's own data are trained agents"
        )
    if not kind:
        either = f"env.id={name.env_id.replace('-singletask', '-play-singletask')}"
        raise LaminarError(f"'{name.env_id}' does not say which data to record; name them, {either}, or noisy")
    if seed < 0:
        raise LaminarError(f"seed must be at least 0, got {seed}")
    require(name.env_id, "ogbench", NEEDED)
    return Play(name.world, kind, seed, length)


def _record_missing(play: Play, jobs: Sequence[Job], parts: Parts, processes: int, progress: Progress) -> None:
    """Play the episodes that are not there yet."""
    missing = [job for job in jobs if not parts.file(job).exists()]
    try:
        with (
            progress(len(missing) * play.length, "step") as watch,
            closing(_episodes(play, missing, processes)) as episodes,
        ):
            for job, episode in episodes:
                parts.add(job, episode)
                watch(Finished(count=play.length))
    except KeyboardInterrupt as stop:
        done = sum(parts.file(job).exists() for job in jobs)
        what = f"interrupted after {done} of {len(jobs)} episodes"
        raise Stopped(message=f"{what}; they are kept in {parts.folder}, and the same command goes on") from stop


def _episodes(play: Play, jobs: Sequence[Job], processes: int) -> Generator[tuple[Job, dict[str, Array]], None, None]:
    """Yield the episodes as they are finished, in any order."""
    if processes == 1 or len(jobs) < 2:
        yield from ((job, play.episode(job)) for job in jobs)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), follow_parent)
    try:
        waiting, running = deque(jobs), dict[Future[dict[str, Array]], Job]()
        while waiting or running:
            while waiting and len(running) <= processes:
                job = waiting.popleft()
                running[pool.submit(play.episode, job)] = job
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done), done.result()
    except BrokenProcessPool as error:
        raise LaminarError(
            f"a process that plays died ({error}); the same command goes on, with processes=1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@lru_cache(maxsize=1)
def _player(world: str, kind: str) -> Player:
    """Return this process's simulation."""
    return Player(world, kind)
