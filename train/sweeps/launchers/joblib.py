"""This machine, shared by as many runs as fit; for each one a thread of joblib waits for its process."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from joblib import Parallel, delayed

from ....errors import LaminarError
from ....settings import number
from ..job import Ended, Job
from ..process import run
from .launcher import Launcher


@dataclass
class Config:
    """This machine, by joblib."""

    name: str = "joblib"
    cpus: int | None = number(None, least=1, null=True)  # cores that the runs share; null takes those of this machine
    gpus: int | None = number(None, least=1, null=True)  # GPUs that the runs share; null takes those of this machine


class Joblib(Launcher):
    """Threads of this process, as many as runs fit on the machine."""

    def launch(self, jobs: Sequence[Job], known: Sequence[Job] = ()) -> Iterator[Ended]:
        """See `Launcher.launch`."""
        places = self._places()
        free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for place in places:
            free.put(place)

        def there(job: Job) -> Ended:
            place = free.get()
            try:
                return run(job, place)
            finally:
                free.put(place)

        parallel: Any = Parallel(len(places), backend="threading", return_as="generator_unordered", pre_dispatch="all")
        yield from parallel(delayed(there)(job) for job in jobs)

    def _places(self) -> list[str | None]:
        """Return the GPUs of each run that fits beside the others, as CUDA_VISIBLE_DEVICES has them; None: all."""
        cpus = self.config.cpus or os.cpu_count() or 1
        fit = int(cpus / self.share.cpus)
        if not fit:
            raise LaminarError(f"cpus={self.share.cpus:g} of a run are more than the {cpus} here; give launcher.cpus=…")
        return [None] * fit if not self.share.gpus else shares(_devices(self.config.gpus), self.share.gpus)[:fit]


def _devices(most: int | None) -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = [str(n) for n in range(torch.cuda.device_count())] if named is None else [*filter(None, named.split(","))]
    return found[:most]


def shares(devices: Sequence[str], gpus: float) -> list[str | None]:
    """Return what each of the runs that fit on some GPUs sees of them, neighbours on different ones.

    Args:
        devices: names of the GPUs.
        gpus: of a run; several whole ones, or a part of one.

    Raises:
        LaminarError: none fits.
    """
    if gpus > 1 and gpus != int(gpus):
        raise LaminarError(f"gpus={gpus:g} must be a part of one GPU, or whole ones")
    size, runs = max(int(gpus), 1), max(int(1 / gpus + 1e-9), 1)
    whole = [",".join(devices[n : n + size]) for n in range(0, len(devices) - size + 1, size)]
    if not whole:
        raise LaminarError(f"gpus={gpus:g} of a run, and there are {len(devices)} GPUs here")
    return [*whole * runs]
