"""Runs that are killed at moments of their own and go on."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from laminar.train.run.logs import read_rows

from .saved import assert_same, final

_WITHIN = 60.0  # seconds that a run may take to come to an update
Launch = Callable[..., BaseProcess]


def kill_and_resume(
    launch: Launch, words: Sequence[str], run: Path, updates: Sequence[int], suite: Path | None = None
) -> None:
    """Kill a run soon after each of these updates, many of them within a write, and let it end.

    Args:
        launch: the fixture.
        words: of a command line that goes on where it was, and logs every update.
        run: its folder.
        updates: at which it is killed, in order; at 0 before much is learned.
        suite: as `launch` takes it.
    """
    output, moments = run.parent / "output", random.Random(0)
    for update in updates:
        process, end = launch(words, output, suite=suite), time.monotonic() + _WITHIN
        while len(read_rows(run / "metrics.jsonl")) < update:
            assert process.is_alive(), output.read_text()
            assert time.monotonic() < end, "took too long"
            time.sleep(0.005)
        process.join(moments.uniform(0.0, 0.02 if update else 1.0))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, output.read_text()
    last = launch(words, output, suite=suite)
    last.join(2 * _WITHIN)
    assert last.exitcode == 0, output.read_text()


def assert_as_if_never_killed(run: Path, whole: Path, numbers: Callable[[Path], object]) -> None:
    """Compare a run that was killed with one that was not: to the bit, its log too, and nothing is left over."""
    assert_same(final(whole), final(run))
    assert numbers(run) == numbers(whole)
    assert not list((run / "checkpoints").glob(".*")), "leftovers of a killed write"
