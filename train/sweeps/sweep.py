"""A sweep from its plan to its end: what is finished stays, all else is started, and what came of it is told.

laminar train -m method=bc,dql seed=0,1 data.path=demos.hdf5 launcher=ray out=runs/sweep
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ...errors import LaminarError, Stopped
from ...policies.storage import write_text
from ...progress import tell
from ..config import TrainConfig
from .board import Board
from .config import SweepConfig
from .followed import held
from .job import Ended, Job, Share
from .launchers import LAUNCHERS
from .launchers.launcher import Launcher
from .plan import Planned, remember
from .process import STOPPED
from .state import end_early, ended_early, is_measured, is_trained
from .summary import summary

RUNS = "runs.md"
_STOP, _LOCK = ".stop", ".lock"


def sweep(config: SweepConfig, planned: Sequence[Planned], runs: Sequence[TrainConfig], measure: Sequence[str]) -> str:
    """Run what is not finished of a sweep, and return the table of its runs, which is also in its folder.

    Args:
        config: of the sweep.
        planned: its runs.
        runs: their settings, in the same order.
        measure: words of `laminar eval` for trained runs; none leaves them as they are.

    Raises:
        LaminarError: settings that do not fit, a folder that is something else's, or runs that failed: all others
            have gone on, and their errors have been told.
        Stopped: by SIGINT or SIGTERM; the runs have written checkpoints.
    """
    if not config.out:
        raise LaminarError("a sweep needs out=FOLDER, in which each run gets a folder of its own")
    out = Path(config.out)
    launcher = _launcher(config, runs)
    remember(out, planned, measure)
    with held(out / _LOCK, f"another process runs the sweep in {out}; let it end, or choose another out="):
        (out / _STOP).unlink(missing_ok=True)
        jobs = [_job(config, out, *one, measure) for one in zip(planned, runs, strict=True)]
        left, known = [job for job in jobs if job.commands], [job for job in jobs if not job.commands]
        tell(_opening(config, out, len(left), len(known)))
        ended = _run(launcher, left, known, out / _STOP) if left else {}
        text = summary(out, jobs, ended)
        write_text(out / RUNS, text)
    failed = [one for one in ended.values() if one.code and one.code != STOPPED]
    for one in failed:
        tell(f"{one.name} failed: {one.told}")
    if failed:
        print(text, end="")
        raise LaminarError(f"{len(failed)} of {len(jobs)} runs failed, see above; the same command starts them again")
    return text


def _launcher(config: SweepConfig, runs: Sequence[TrainConfig]) -> Launcher:
    kind = LAUNCHERS.member_class(config.launcher.name)
    if config.stop.rule and not kind.stops_early:
        raise LaminarError(f"stop={config.stop.rule} is a rule of Ray Tune; give launcher=ray, or leave it out")
    if any(run.runtime.device.startswith("cuda") for run in runs) and not config.gpus:
        raise LaminarError("the runs are on a GPU, and gpus=0 gives them none; gpus=1 is one each, gpus=0.25 a quarter")
    return kind(config.launcher, Share(config.cpus, config.gpus), config.stop)


def _opening(config: SweepConfig, out: Path, left: int, done: int) -> str:
    kept = f", {done} of before {'is' if done == 1 else 'are'} kept" if done else ""
    return f"{left} run{'s' * (left != 1)} by launcher={config.launcher.name}{kept}; folders in {out}"


def _job(config: SweepConfig, out: Path, planned: Planned, run: TrainConfig, measure: Sequence[str]) -> Job:
    """Return what is left to do of a run."""
    folder = (out / planned.name).absolute()
    commands: list[tuple[str, ...]] = []
    if not ended_early(folder):
        if not is_trained(folder):
            commands.append(("train", *planned.words, f"out={folder}"))
        if measure and (commands or not is_measured(folder)):
            seeds = [folder] if run.seeds is None else [folder / f"seed_{seed}" for seed in run.seeds]
            commands += [("eval", f"policy.path={one}", *measure, f"out={one / 'eval'}") for one in seeds]
    return Job(
        planned.name,
        str(folder),
        tuple(commands),
        str(Path.cwd()),
        str((out / _STOP).absolute()),
        config.tries,
        max(int(config.cpus), 1),
        run.steps,
    )


def _run(launcher: Launcher, jobs: Sequence[Job], known: Sequence[Job], stop: Path) -> Mapping[str, Ended]:
    ended: dict[str, Ended] = {}
    with _signals(stop) as asked, Board(jobs, len(known)) as board:
        for one in launcher.launch(jobs, known):
            ended[one.name] = one
            if one.early:
                end_early(Path(next(job.folder for job in jobs if job.name == one.name)), one.early)
            board.ended(one)
    stop.unlink(missing_ok=True)
    if asked:
        raise Stopped(asked[0], message="the runs have stopped; the same command goes on from their checkpoints")
    return ended


@contextmanager
def _signals(stop: Path) -> Generator[list[int]]:
    """Let SIGINT and SIGTERM make the file at which runs stop; a second one stops at once. Yield those that came."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        stop.touch()
        tell("stopping: the runs write their checkpoints")

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
