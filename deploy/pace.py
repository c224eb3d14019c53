"""A steady rate: absolute deadlines, which do not drift however long a period's work takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_SHORT = 0.5  # of a period: what is left of one that began late is left out if it is less
_SPUN = 0.001  # seconds before a deadline that are not slept: the system wakes late by about that
_AFTER, _SHARE, _MOST = 0.05, 0.1, 0.05  # of a period: behind an event, of what is missing to that, a period at most


@dataclass
class Pace:
    """Waits for the beginning of each control period.

    Attributes:
        period: seconds.
        late: seconds that each period began after its deadline.
        missed: periods that were over, or half over, before they began, and are left out.
    """

    period: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    late: list[float] = field(default_factory=lambda: [])
    missed: int = 0
    _next: float | None = None

    def start(self, at: float) -> None:
        """Begin the first period at a time of the clock."""
        self._next = at

    def wait(self) -> float:
        """Wait for the next period and return when it began to run."""
        now = self.clock()
        deadline = now if self._next is None else self._next
        while now < deadline:
            left = deadline - now
            self.sleep(left - _SPUN if left > _SPUN else 0.0)
            now = self.clock()
        over = int((now - deadline) / self.period)  # whole periods that have gone by
        self.missed += over
        self.late.append(now - deadline)
        self._next = deadline + (over + 1) * self.period
        if self._next - now < _SHORT * self.period:  # two commands so soon after each other would be twice as fast
            self.missed += 1
            self._next += self.period
        return now

    def follow(self, event: float) -> None:
        """Move the deadlines to soon after events like this one, which come once a period by somebody else's clock.

        They move by a twentieth of a period each at most, so that no period is much longer or shorter.

        Args:
            event: when it came, of the clock.
        """
        if self._next is None:
            return
        apart = event + _AFTER * self.period - self._next
        apart -= round(apart / self.period) * self.period
        most = _MOST * self.period
        self._next += min(max(_SHARE * apart, -most), most)

    def told(self) -> dict[str, float]:
        """Return periods, the share that was missed, and how late they began, in milliseconds."""
        count = len(self.late) + self.missed
        late = 1e3 * np.array(self.late or [0.0])
        return {
            "periods": count,
            "missed": self.missed / max(count, 1),
            "late_ms_p50": float(np.quantile(late, 0.5)),
            "late_ms_p99": float(np.quantile(late, 0.99)),
            "late_ms_max": float(late.max()),
        }
