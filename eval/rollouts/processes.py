"""Shards of an evaluation in worker processes of this machine, one shard each."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue

from ...errors import LaminarError, Stopped
from ...machine import follow_parent
from ...progress import Finished, Watch, ignore
from .measured import Record, Share, together
from .shards import Job

_LISTENING = 0.25  # seconds between two looks at what workers have finished
_report: Watch = ignore  # of a worker, to its parent


@dataclass(frozen=True)
class Processes:
    """A place of so many spawned processes, of which each loads the policy by itself."""

    count: int

    def run(self, job: Job[Record], policy: str, seeds: Sequence[int], watch: Watch) -> Share[Record]:
        """Evaluate all seeds, see `shards.Place.run`."""
        workers = min(self.count, len(seeds))
        # spawned, because a forked child inherits locks of threads that it does not have
        context = multiprocessing.get_context("spawn")
        others = set(multiprocessing.active_children())
        reports: SimpleQueue[Finished] = context.SimpleQueue()
        with ProcessPoolExecutor(workers, context, initializer=_ready_worker, initargs=(reports,)) as pool:
            jobs = [pool.submit(_in_worker, job, policy, seeds[worker::workers]) for worker in range(workers)]
            try:
                shares = _awaited(jobs, reports, watch)
            except KeyboardInterrupt:
                shares = _finished(jobs, set(multiprocessing.active_children()) - others)
            except BrokenProcessPool as error:
                raise LaminarError(
                    f"a worker process died; its simulator crashed or memory ran out: use processes={workers // 2}, or "
                    "processes=0 to see it happen"
                ) from error
        if not shares:
            raise Stopped(message="interrupted before anything was finished; nothing was measured")
        return together(shares, seeds, sum(part.num_envs for part, _ in shares))


def _awaited(
    jobs: Sequence[Future[Share[Record]]], reports: SimpleQueue[Finished], watch: Watch
) -> list[Share[Record]]:
    """Return what the workers hand in, and tell meanwhile what they finish; who reports waits for nobody."""
    running = set(jobs)
    while running:
        running = wait(running, timeout=_LISTENING).not_done
        while not reports.empty():
            watch(reports.get())
    return [job.result() for job in jobs]


def _ready_worker(reports: SimpleQueue[Finished]) -> None:
    """Follow the first process; when Ctrl-C stops it, it tells the workers by another signal."""
    follow_parent()
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    global _report
    _report = reports.put


def _finished(jobs: Sequence[Future[Share[Record]]], workers: Iterable[BaseProcess]) -> list[Share[Record]]:
    """Interrupt the workers and return what they have finished; kill them when Ctrl-C comes again."""
    try:
        for worker in workers:
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, signal.SIGUSR1)
        return [job.result() for job in jobs if job.exception() is None]
    except KeyboardInterrupt:
        for worker in workers:
            worker.kill()
        raise


def _in_worker(job: Job[Record], policy: str, seeds: Sequence[int]) -> Share[Record]:
    """Do the share of one worker."""
    return job.do(policy, seeds, _report)
