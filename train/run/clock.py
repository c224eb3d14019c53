"""What a run has cost so far, in seconds, whatever number of processes it took one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

WALL, CPU = "wall_seconds", "cpu_seconds"


class Clock:
    """Seconds since a run began, and those of them in which this process computed.

    A run that was resumed goes on from its last row that is kept: what was lost by a kill, and repeated, counts once.
    Simulators in processes of their own (env.processes) compute beside this one, and their seconds do not count.
    """

    def __init__(self, rows: Sequence[Mapping[str, float]] = ()) -> None:
        """Go on from the rows of a log."""
        last = next((row for row in reversed(rows) if WALL in row), {})
        self._before = (last.get(WALL, 0.0), last.get(CPU, 0.0))
        self._began = (time.monotonic(), time.process_time())

    def read(self) -> dict[str, float]:
        """Return {"wall_seconds", "cpu_seconds"} so far."""
        now = (time.monotonic(), time.process_time())
        spent = (before + end - begin for before, end, begin in zip(self._before, now, self._began, strict=True))
        return dict(zip((WALL, CPU), (round(value, 3) for value in spent), strict=True))
