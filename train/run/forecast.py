"""How long a run will take, told from the pace of its first updates: nothing is computed for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch

from ...progress import duration
from ..config import TrainConfig

WARM_UPS = 10  # launches that do not count: the first ones compile, allocate and choose kernels
TRIAL = 5.0  # seconds of updates, at least
SHORT = 20.0  # seconds of work that nobody asks about
LONG = 2 * 3600.0  # seconds from which on it is said what would be shorter


class Forecast:
    """Watches the pace of a run, and tells once what it means."""

    def __init__(self, config: TrainConfig, step: int, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin after `step` updates; `clock` tells seconds."""
        self._config, self._clock, self._step = config, clock, step
        self._launches, self._begin, self._since = 0, 0.0, 0
        self._pace: float | None = None  # seconds an update
        self._evaluated = False
        every = config.evaluation.every
        self._evaluations = -(-config.steps // every) - step // every if every and config.env.id else 0

    def updated(self, step: int) -> str | None:
        """Return, once enough updates were seen, how long all of them take; None before, afterwards and if not long.

        Args:
            step: updates done.
        """
        if self._pace is not None:
            return None
        self._launches += 1
        if self._launches == WARM_UPS:
            self._begin, self._since = self._now(), step
        if self._launches <= WARM_UPS or self._clock() - self._begin < TRIAL:
            return None
        self._pace = (self._now() - self._begin) / (step - self._since)
        if self._updates < SHORT:
            return None
        left = self._config.steps - self._step
        which = f"the remaining {left:,}" if self._step else f"{left:,}"
        more = f"; {self._evaluations} evaluations come on top" if self._evaluations and not self._evaluated else ""
        pace = f"{1 / self._pace:.3g} updates/s" if self._pace < 1 else f"{self._pace:.3g} s an update"
        return f"about {duration(self._updates)} for {which} updates on this machine ({pace}){more}{self._remedy()}"

    @contextmanager
    def aside(self) -> Generator[None]:
        """Leave out of the pace what is no update: an evaluation, a checkpoint."""
        before = self._now()
        yield
        self._begin += self._now() - before

    def evaluated(self, seconds: float) -> str | None:
        """Return what the evaluations will take, after the first one; None afterwards, and if that is not long."""
        first, self._evaluated = not self._evaluated, True
        every = seconds * self._evaluations
        if not first or every < SHORT:
            return None
        share = "" if self._pace is None else f", {every / (every + self._updates):.0%} of the run"
        return f"an evaluation takes about {duration(seconds)}: {duration(every)} for all {self._evaluations}{share}"

    @property
    def _updates(self) -> float:
        """Seconds of all updates of this run, those before a resume aside."""
        return (self._pace or 0.0) * (self._config.steps - self._step)

    def _now(self) -> float:
        """Return the time at which the device has done what it was told to do."""
        if torch.device(self._config.runtime.device).type == "cuda":
            torch.cuda.synchronize(self._config.runtime.device)
        return self._clock()

    def _remedy(self) -> str:
        """Return what would make a long run shorter, as far as it has not been done."""
        if self._updates < LONG:
            return ""
        runtime = self._config.runtime
        ways = ["a smaller steps="]
        if runtime.device == "cpu" and torch.cuda.is_available():
            ways.append("runtime=cuda")
        elif not runtime.compiled:
            ways.append("runtime=compile" if runtime.device == "cpu" else "runtime.compiled=true")
        if self._config.network is not None and self._config.init.path is None:
            ways.append("a smaller network")
        return f"; shorter with {', '.join(ways[:-1])} or {ways[-1]}" if len(ways) > 1 else f"; shorter with {ways[0]}"
