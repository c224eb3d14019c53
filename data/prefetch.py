"""One batch ahead: a thread gathers the next batch while the caller trains on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor

Drawn = TypeVar("Drawn")
Batch = TypeVar("Batch")


class Prefetch(Generic[Drawn, Batch]):
    """Gathers batches in a thread, in the same order as without one: every draw is made by the caller's thread.

        batches = Prefetch(lambda: chunks.draw(256, generator), chunks.gather, generator)
        batch = batches.next()

    Worth it where gathering reads from disk; batches in memory come faster than a thread takes them over. What goes
    wrong in the thread is raised by `next`.
    """

    def __init__(self, draw: Callable[[], Drawn], gather: Callable[[Drawn], Batch], generator: torch.Generator) -> None:
        """Take the function that draws a batch's indices (and noise) from `generator`, and the one that reads it."""
        self._draw, self._gather, self._generator = draw, gather, generator
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._pending: Future[Batch] | None = None
        self._before = generator.get_state()

    def next(self) -> Batch:
        """Return the next batch and begin with the one after it."""
        pending = self._pending or self._begin()
        self._pending = None
        batch = pending.result()
        self._pending = self._begin()
        return batch

    def state(self) -> Tensor:
        """Return the generator's state as it was before the batch that is under way: where a resume continues."""
        return self._generator.get_state() if self._pending is None else self._before

    def restart(self) -> None:
        """Forget the batch under way; call it after the generator was set to another state."""
        self._pending = None

    def close(self) -> None:
        """Wait for the thread and end it."""
        self._pending = None
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _begin(self) -> Future[Batch]:
        self._before = self._generator.get_state()
        return self._thread.submit(self._gather, self._draw())
