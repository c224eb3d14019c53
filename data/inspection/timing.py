"""Whether the rows came at a steady rate, by their time stamps: jitter, gaps, and clocks that run backwards."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..episodes import TIMESTAMP, Episodes

Array = NDArray[Any]
_GAP = 1.5  # periods between two rows, beyond which one is missing
_APART = 0.02  # share by which the measured rate may differ from the one that is stated
_UNSTEADY = 0.25  # of a period: a deviation that is worth a sentence


@dataclass(frozen=True)
class Timing:
    """Times between successive rows of an episode; never across its end.

    Attributes:
        rate_hz: by the median interval.
        stated_hz: by the Spec; None where it says nothing.
        jitter_ms: standard deviation of the intervals that are no gaps.
        median_ms: of the intervals.
        p99_ms: as well.
        longest_ms: the longest interval.
        gaps: intervals of more than 1.5 periods.
        dropped: rows that would fill them.
        backwards: intervals of no time, or less.
    """

    rate_hz: float
    stated_hz: float | None
    jitter_ms: float
    median_ms: float
    p99_ms: float
    longest_ms: float
    gaps: int
    dropped: int
    backwards: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @property
    def problems(self) -> list[str]:
        """One sentence for each thing that looks wrong."""
        found: list[str] = []
        if self.backwards:
            found.append(f"timestamp: does not rise in {self.backwards} steps; the clock was set, or rows are mixed up")
        if self.dropped:
            found.append(
                f"timestamp: {self.dropped} rows are missing in {self.gaps} gaps, the longest of {self.longest_ms:.0f} "
                f"ms where a step takes {self.median_ms:.3g} ms"
            )
        if self.jitter_ms > _UNSTEADY * self.median_ms:
            found.append(f"timestamp: steps of {self.median_ms:.3g} ms vary by {self.jitter_ms:.3g} ms")
        if self.stated_hz and abs(self.rate_hz / self.stated_hz - 1) > _APART:
            found.append(f"timestamp: rows come at {self.rate_hz:.4g} Hz, and {self.stated_hz:g} Hz are stated")
        return found


def timing(episodes: Episodes) -> Timing | None:
    """Measure the time stamps; None where there are none, or none that tell anything."""
    intervals, _ = _intervals(episodes)
    rising = intervals[intervals > 0]
    if not len(rising):
        return None
    period = float(np.median(rising))
    late = rising > _GAP * period
    steady = rising[~late]
    return Timing(
        rate_hz=1 / period,
        stated_hz=episodes.spec.rate_hz,
        jitter_ms=1e3 * float(steady.std()),
        median_ms=1e3 * period,
        p99_ms=1e3 * float(np.quantile(rising, 0.99)),
        longest_ms=1e3 * float(rising.max()),
        gaps=int(late.sum()),
        dropped=int(_missing(rising, period).sum()),
        backwards=len(intervals) - len(rising),
    )


def dropped_rows(episodes: Episodes) -> Array:
    """Return (E,) how many rows are missing in each episode; zeros where there are no time stamps."""
    intervals, owner = _intervals(episodes)
    rising = intervals > 0
    if not rising.any():
        return np.zeros(episodes.num_episodes, np.int64)
    missing = np.where(rising, _missing(intervals, float(np.median(intervals[rising]))), 0)
    return np.bincount(owner, missing, episodes.num_episodes).astype(np.int64)


def _missing(intervals: Array, period: float) -> Array:
    return np.where(intervals > _GAP * period, np.round(intervals / period) - 1, 0)


def _intervals(episodes: Episodes) -> tuple[Array, Array]:
    """Return the times between successive rows of the same episode, and which it is."""
    stamps = episodes.infos.get(TIMESTAMP)
    if stamps is None or stamps.size != len(episodes) or not np.isfinite(stamps).all():
        return np.zeros(0), np.zeros(0, np.int64)
    owner = episodes.episode_index
    inside = owner[1:] == owner[:-1]
    return np.diff(stamps.reshape(-1).astype(np.float64))[inside], owner[1:][inside]
