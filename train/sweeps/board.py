"""The progress of a sweep: a table that is drawn again and again on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ...progress import duration, tell
from .job import Ended, Job
from .process import STOPPED
from .state import newest

_EVERY = 1.0  # seconds between two looks at the folders


class Board:
    """Shows which runs wait, run and have ended; `with` follows their folders."""

    def __init__(self, jobs: Sequence[Job], done: int) -> None:
        """Show some runs.

        Args:
            jobs: that are to be run.
            done: runs that were finished before.
        """
        self._jobs, self._done = {job.name: job for job in jobs}, done
        self._sizes = {job.name: _size(job.log) for job in jobs}
        self._running: dict[str, float] = {}  # name -> when it was first seen
        self._ended: dict[str, Ended] = {}
        self._lock, self._over = threading.RLock(), threading.Event()
        self._terminal = sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison]
        self._drawn, self._begin = 0, time.monotonic()

    def __enter__(self) -> Board:
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        with self._lock:
            self._draw()

    def ended(self, one: Ended) -> None:
        """Take note of a run that has ended."""
        with self._lock:
            self._running.pop(one.name, None)
            self._ended[one.name] = one
            self._erase()
            took = "" if one.seconds is None else f" after {duration(one.seconds)}"
            tell(f"{one.name}: {_how(one)}{took} ({self._done + len(self._ended)} of {self._total})")
            self._draw()

    @property
    def _total(self) -> int:
        return self._done + len(self._jobs)

    def _follow(self) -> None:
        while not self._over.wait(_EVERY):
            with self._lock:
                begun = [
                    name
                    for name, job in self._jobs.items()
                    if name not in self._running and name not in self._ended and _size(job.log) > self._sizes[name]
                ]
                for name in begun:
                    self._running[name] = time.monotonic()
                    if not self._terminal:
                        tell(f"{name}: started, its output in {self._jobs[name].log}")
                self._draw()

    def _erase(self) -> None:
        if self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        if not self._terminal:
            return
        columns, height = _terminal_size()
        wide = max((len(name) for name in self._running), default=0)
        lines = [f"  {name:{wide}}  {self._far(name)}" for name in self._running][: height - 3]
        failed = sum(bool(one.code) and one.code != STOPPED for one in self._ended.values())
        waiting = len(self._jobs) - len(self._running) - len(self._ended)
        lines.append(
            f"{self._done + len(self._ended)} of {self._total} runs ended, {failed} failed; {len(self._running)} run, "
            f"{waiting} wait; {duration(time.monotonic() - self._begin)}"
        )
        self._erase()
        sys.stderr.write("".join(f"{line[: columns - 1]}\n" for line in lines))
        sys.stderr.flush()
        self._drawn = len(lines)

    def _far(self, name: str) -> str:
        job, row = self._jobs[name], newest(Path(self._jobs[name].folder))
        loss = f", loss {row['loss']:.4g}" if "loss" in row else ""
        took = duration(time.monotonic() - self._running[name])
        return f"update {row.get('step', 0):,} of {job.steps:,}{loss}, {took}"


def _how(one: Ended) -> str:
    if one.early:
        return f"ended early by {one.early}"
    return {0: "finished", STOPPED: "stopped"}.get(one.code, f"failed: {one.told}")


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else -1


def _terminal_size() -> tuple[int, int]:
    try:
        return os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return 80, 24
