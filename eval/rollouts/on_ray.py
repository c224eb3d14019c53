"""Shards of an evaluation on a Ray cluster, small ones, so that a worker that is lost costs little.

The policy travels as bytes through Ray's object store, and its digest is checked where it arrives: no disk is shared.
Ray pickles what it sends between the machines of its own cluster; no file is unpickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from ...cluster import cluster
from ...errors import LaminarError, Stopped
from ...policies.module import PolicyModule
from ...progress import Finished, Watch, tell
from ...registry import register_again
from ...version import __version__
from .measured import Record, Share, together
from .options import Cluster
from .packed import Packed, pack
from .shards import Job

_SHARDS = 4  # a worker, so that none waits long for the last one
_SMALL = 8  # seeds of a shard, at least, where there are enough: environments have to be made for each
_TRIES = 3  # of a shard, before its loss is taken for its own fault
_LEAVE = 5.0  # seconds that workers have to hand in what they have after Ctrl-C
_opened: dict[str, PolicyModule] = {}  # of a worker: the policy of its last shard, by digest


@dataclass(frozen=True)
class OnRay:
    """A place of workers on a cluster."""

    where: Cluster

    def run(self, job: Job[Record], policy: str, seeds: Sequence[int], watch: Watch) -> Share[Record]:
        """Evaluate all seeds, see `shards.Place.run`; those of workers that are lost are run again."""
        packed = pack(policy)
        with cluster(self.where.address, self.where.workers) as ray:
            shards = divided(seeds, self.where.workers)
            work = _Work(ray, ray.put(job), ray.put(packed), shards, self.where.workers, watch)
            try:
                work.go()
            except KeyboardInterrupt:
                work.stop()
        shares = [work.found[number] for number in sorted(work.found)]
        if not shares:
            raise Stopped(message="interrupted before anything was finished; nothing was measured")
        slots = shares[0][0].num_envs
        return together(shares, seeds, min(len(seeds), slots * min(self.where.workers, len(shards))))


def divided(seeds: Sequence[int], workers: int) -> list[Sequence[int]]:
    """Divide seeds into shards, each of seeds that follow each other."""
    size = max(-(-len(seeds) // (_SHARDS * workers)), min(_SMALL, -(-len(seeds) // workers)))
    return [seeds[first : first + size] for first in range(0, len(seeds), size)]


@dataclass
class _Work(Generic[Record]):
    """Shards on their way: as many at a time as there are workers, the others wait."""

    ray: Any
    job: Any  # reference to it in the object store
    packed: Any
    shards: Sequence[Sequence[int]]
    workers: int
    watch: Watch
    found: dict[int, Share[Record]] = field(default_factory=dict[int, Any])
    running: dict[Any, int] = field(default_factory=dict[Any, int])  # reference to the outcome -> number of the shard
    lost: Counter[int] = field(default_factory=Counter[int])

    def go(self) -> None:
        """Work until all shards are done."""
        remote = self.ray.remote(num_cpus=1, max_retries=0)(_in_worker)
        waiting = list(reversed(range(len(self.shards))))
        while waiting or self.running:
            while waiting and len(self.running) < self.workers:
                number = waiting.pop()
                reference = remote.remote(self.job, self.packed, self.shards[number], __version__)
                self.running[reference] = number
            for reference in self.ray.wait(list(self.running))[0]:
                number = self.running.pop(reference)
                if not self._take(reference, number):
                    waiting.append(number)

    def stop(self) -> None:
        """Interrupt the workers, and keep what they hand in."""
        for reference in self.running:
            self.ray.cancel(reference)
        for reference in self.ray.wait(list(self.running), num_returns=len(self.running), timeout=_LEAVE)[0]:
            try:
                self._book(reference, self.running[reference])
            except self.ray.exceptions.RayError:
                continue  # it had finished nothing

    def _take(self, reference: Any, number: int) -> bool:
        """Book what a worker found; return False if it was lost.

        Raises:
            LaminarError: what the worker raised, or the shard's workers were lost again and again.
        """
        try:
            self._book(reference, number)
        except self.ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, LaminarError) else error) from error
        except self.ray.exceptions.RayError as error:
            self._lose(number, error)
            return False
        return True

    def _book(self, reference: Any, number: int) -> None:
        share, told = self.ray.get(reference)
        self.found[number] = share
        for finished in told:
            self.watch(finished)

    def _lose(self, number: int, error: Exception) -> None:
        self.lost[number] += 1
        shard = self.shards[number]
        which = f"seeds {shard[0]} to {shard[-1]}" if len(shard) > 1 else f"seed {shard[0]}"
        why = f"{type(error).__name__}: {str(error).partition('.')[0]}"
        if self.lost[number] >= _TRIES:
            raise LaminarError(
                f"the worker with {which} was lost {_TRIES} times ({why}): its simulator crashes or memory runs out; "
                "run these seeds with launcher=null to see it happen"
            ) from error
        tell(f"a worker was lost ({why}); {which} are run again")


def _in_worker(
    job: Job[Record], packed: Packed, seeds: Sequence[int], version: str
) -> tuple[Share[Record], list[Finished]]:
    """Do a shard in a worker of the cluster; return also what was finished, to be told where it was asked for.

    Raises:
        LaminarError: the worker has another version of laminar.
    """
    if version != __version__:
        raise LaminarError(f"the cluster's workers have laminar {__version__}, and this is {version}; install the same")
    register_again(job.members)
    if packed.digest not in _opened:
        _opened.clear()
        _opened[packed.digest] = packed.load()
    told: list[Finished] = []
    return job.do(_opened[packed.digest], seeds, told.append), told
