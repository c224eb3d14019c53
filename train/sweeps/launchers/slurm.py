"""A SLURM cluster, by submitit: runs are jobs of an array, queued anew where they are preempted or out of time.

Before it ends a job submitit signals it: the runs in it write checkpoints, and the job that is queued in its place goes
on from them. submitit pickles what it calls into the folder of the sweep, and reads the answer from there: whoever can
write into that folder can run code in the jobs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

from ....errors import LaminarError
from ....settings import choice, number
from ..config import StopConfig
from ..job import Ended, Job, Share
from ..process import run
from .launcher import Launcher

FOLDER = ".slurm"
"""In the folder of a sweep: scripts, output and pickles of submitit."""
_POLL = 0.5  # seconds; submitit itself asks SLURM much less often
_WARNED = 120  # seconds before its end that a job is told


@dataclass
class Config:
    """A SLURM cluster; the folders of data and runs must be the same on all of its machines."""

    name: str = "slurm"
    # slurm; local and debug try the same without SLURM, in processes here or in this one; null is slurm
    cluster: str | None = choice(None, "slurm", "local", "debug", null=True)
    partition: str | None = None  # of the cluster; null is its default, as for the next three
    account: str | None = None  # that pays
    qos: str | None = None  # quality of service
    constraint: str | None = None  # features that a machine must have
    time: int = number(240, least=1)  # minutes of a job, after which it is queued again and goes on
    mem: float | None = number(None, above=0, null=True)  # GB of memory of a run; null is the cluster's default
    jobs: int = number(256, least=1)  # that run at the same time
    requeues: int = number(100, least=0)  # how often a job may run out of time


class Pack:
    """Runs that share the GPU of one job; what submitit calls there."""

    def __init__(self) -> None:
        """Begin with nothing stopping."""
        self._stopping = False

    def __call__(self, jobs: Sequence[Job]) -> list[Ended]:
        """Run the jobs side by side."""
        with ThreadPoolExecutor(len(jobs)) as pool:
            self._waiting = [pool.submit(run, job, None, lambda: self._stopping) for job in jobs]
            return [one.result() for one in self._waiting]

    def checkpoint(self, jobs: Sequence[Job]) -> Any:
        """Let all runs write checkpoints, and return what goes on in the job that is queued in its place."""
        from submitit.helpers import DelayedSubmission  # pyright: ignore[reportMissingImports]  # an extra

        self._stopping = True
        for one in self._waiting:
            one.result()
        return DelayedSubmission(Pack(), jobs)


class Slurm(Launcher):
    """Jobs of SLURM."""

    def __init__(self, config: Any, share: Share, rule: StopConfig) -> None:
        """See `Launcher`."""
        super().__init__(config, share, rule)
        if find_spec("submitit") is None:
            raise LaminarError("launcher=slurm needs the extra: pip install 'laminar[slurm]'")

    def launch(self, jobs: Sequence[Job], known: Sequence[Job] = ()) -> Iterator[Ended]:
        """See `Launcher.launch`."""
        size = max(int(1 / self.share.gpus + 1e-9), 1) if self.share.gpus else 1
        packs = [jobs[n : n + size] for n in range(0, len(jobs), size)]
        executor = self._executor(Path(jobs[0].stop).parent / FOLDER, size)
        submitted = executor.map_array(Pack(), packs)
        waiting = dict(zip(submitted, packs, strict=True))
        asked = False
        while waiting:
            if not asked and os.path.exists(jobs[0].stop):
                asked = True
                for one in waiting:
                    if one.state == "PENDING":  # those that run see the file
                        one.cancel()
            for one in [one for one in waiting if one.done()]:
                yield from _ended(one, waiting.pop(one))
            time.sleep(_POLL)

    def _executor(self, folder: Path, size: int) -> Any:
        import submitit  # pyright: ignore[reportMissingImports]  # an extra

        config, wanted = self.config, {}
        try:
            executor = submitit.AutoExecutor(
                folder, cluster=config.cluster or "slurm", slurm_max_num_timeout=config.requeues
            )
        except RuntimeError as error:
            raise LaminarError(f"launcher=slurm: {error}; launcher.cluster=local tries it without SLURM") from error
        for name in ("partition", "account", "qos", "constraint"):
            if getattr(config, name) is not None:
                wanted[f"slurm_{name}"] = getattr(config, name)
        executor.update_parameters(
            name="laminar",
            timeout_min=config.time,
            cpus_per_task=ceil(self.share.cpus * size),
            slurm_array_parallelism=config.jobs,
            slurm_signal_delay_s=_WARNED,
            **({"gpus_per_node": ceil(self.share.gpus)} if self.share.gpus else {}),
            **({"mem_gb": config.mem * size} if config.mem else {}),
            **wanted,
        )
        return executor


def _ended(one: Any, jobs: Sequence[Job]) -> list[Ended]:
    try:
        return one.result()
    except Exception as error:  # submitit's, of many kinds, and what a job raised
        told = str(error).strip().splitlines()[:1] or [type(error).__name__]
        return [Ended(job.name, 1, f"SLURM's job {one.job_id} failed: {told[0]}") for job in jobs]
