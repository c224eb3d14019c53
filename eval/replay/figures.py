"""Numbers of a replay: errors with intervals over episodes, and what to judge them by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.episodes import Episodes
from ..results.scores import Interval, equal_ones, ratio_bootstrap
from ..results.significance import FEWEST_PAIRS
from .errors import Array, Errors, Predicted, RecordedWindows

POLICY, BEST, LAST, MEAN = "policy", "best_of_samples", "repeat_last", "mean_action"
TITLES = {
    POLICY: "policy",
    BEST: "best of the samples",
    LAST: "repeat the last recorded action",
    MEAN: "always the mean action",
}
SINGLE = "a single episode"
TOO_FEW = "too few episodes"


@dataclass(frozen=True)
class Figures:
    """Means over recorded actions with their intervals, for one predictor.

    Attributes:
        total: mean over the dimensions, share of the action's range: "mean_absolute" and "root_mean_square".
        dimensions: the same of each dimension (A), raw units.
        horizon: the same as `total` of each step of the chunk that was recorded anywhere.
        both: the same of each of these steps and each dimension, raw units: (H, A).
    """

    total: dict[str, Interval]
    dimensions: dict[str, list[Interval]]
    horizon: dict[str, list[Interval]]
    both: dict[str, list[list[Interval]]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "total": {name: one.to_json() for name, one in self.total.items()},
            "dimensions": {name: [one.to_json() for one in row] for name, row in self.dimensions.items()},
            "horizon": {name: [one.to_json() for one in row] for name, row in self.horizon.items()},
            "horizon_and_dimensions": {
                name: [[one.to_json() for one in row] for row in rows] for name, rows in self.both.items()
            },
        }


def figures(errors: Errors, width: Array) -> Figures:
    """Make means and intervals of errors.

    Args:
        errors: of E episodes.
        width: (A,) of the action's range.
    """
    found = Figures({}, {}, {}, {})
    seen = errors.count.sum(axis=0) > 0  # steps of a chunk that only pad have none
    count = errors.count[:, seen]
    whole = count.sum(axis=1, keepdims=True)
    for name, sums, share in (
        ("mean_absolute", errors.absolute[:, seen], 1 / width),
        ("root_mean_square", errors.squared[:, seen], 1 / width**2),
    ):
        root = name == "root_mean_square"
        shares = (sums * share).mean(axis=2)  # (E, H), of the mean over dimensions
        found.total[name] = intervals(shares.sum(axis=1, keepdims=True), whole, root)[0]
        found.dimensions[name] = intervals(sums.sum(axis=1), whole, root)
        found.horizon[name] = intervals(shares, count, root)
        flat = intervals(sums.reshape(len(sums), -1), np.repeat(count, sums.shape[2], axis=1), root)
        found.both[name] = [flat[row : row + sums.shape[2]] for row in range(0, len(flat), sums.shape[2])]
    return found


def intervals(sums: Array, counts: Array, root: bool = False) -> list[Interval]:
    """Return figures with 95 % bootstrap intervals over episodes; none where a single one tells, or all are equal.

    Args:
        sums: (E, K).
        counts: (E, K) or (E, 1).
        root: take the square root.
    """
    ends = np.stack(ratio_bootstrap(sums, counts))
    mean, low, high = np.sqrt(ends) if root else ends
    telling = np.broadcast_to((counts > 0).sum(axis=0), mean.shape)
    found: list[Interval] = []
    for numbers in zip(mean.tolist(), low.tolist(), high.tolist(), telling.tolist(), strict=True):
        middle, least, most, episodes = numbers
        if episodes == 1:
            found.append(Interval.missing(middle, SINGLE))
        elif np.isclose(least, most, rtol=1e-6, atol=0):
            found.append(Interval.missing(middle, equal_ones(episodes)))
        else:
            found.append(Interval(middle, least, most))
    return found


def closer(errors: Errors, other: Errors, width: Array) -> str:
    """Tell whether one predictor is closer to the recorded actions than another, by their paired difference.

    Fewer episodes than `FEWEST_PAIRS` may all be of one sign by chance, and a bootstrap of them takes that for a
    finding.
    """
    if len(errors.count) < FEWEST_PAIRS:
        return TOO_FEW
    difference = ((errors.absolute - other.absolute) / width).mean(axis=2).sum(axis=1, keepdims=True)
    (found,) = intervals(difference, errors.count.sum(axis=1, keepdims=True))
    if found.none:
        return "closer" if found.mean < 0 else "farther" if found.mean > 0 else "the same"
    return "closer" if found.high < 0 else "farther" if found.low > 0 else "no clear difference"


def trivial(episodes: Episodes, windows: RecordedWindows, horizon: int, mean: Array) -> dict[str, Array]:
    """Return what knows nothing of the observation predicts at the windows, (1, W, H, A) each.

    Args:
        episodes: that the windows are of.
        windows: W.
        horizon: H.
        mean: (A,) action; it also stands for the last one where an episode begins and there is none.
    """
    first = np.isin(windows.step, episodes.starts)
    last = np.where(first[:, None], mean, episodes.action[windows.step - 1])
    shape = (1, len(windows), horizon, len(mean))
    return {
        LAST: np.broadcast_to(last[None, :, None], shape),
        MEAN: np.broadcast_to(mean, shape),
    }


def best_of(found: Predicted, width: Array) -> Array:
    """Return of each window the sample (1, W, H, A) with the least mean absolute error, as shares of the range."""
    error = (np.abs(found.sampled - found.recorded) / width).mean(axis=3)  # (S, W, H)
    chosen = (error * found.mask).sum(axis=2).argmin(axis=0)
    return found.sampled[chosen, np.arange(len(chosen))][None]


def spread_of(found: Predicted) -> Array:
    """Return the standard deviation (A,) of samples with other noise at the same window, mean over recorded actions."""
    deviation = found.sampled.std(axis=0, ddof=1, dtype=np.float64)  # (W, H, A)
    mask: NDArray[np.bool_] = found.mask
    return deviation[mask].mean(axis=0)
