"""Statistics of scores: an interval for every figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import LaminarError

Array = NDArray[np.float64]
_ROUNDING = 1e-6  # of the largest value: the same episode in another row of a batch may differ by so much


@dataclass(frozen=True)
class Interval:
    """A figure with the interval that covers it with the stated confidence.

    Attributes:
        none: why there is no interval, "all 50 are equal" for example; `low` and `high` are then the mean. "" where
            there is one.
    """

    mean: float
    low: float
    high: float
    none: str = ""

    @classmethod
    def missing(cls, mean: float, why: str) -> Interval:
        """Return a figure without an interval."""
        return cls(mean, mean, mean, why)

    def to_json(self) -> dict[str, Any]:
        """Return ``{"mean", "low", "high"}``; without an interval null for both, and ``"no_interval"``, the reason."""
        if self.none:
            return {"mean": self.mean, "low": None, "high": None, "no_interval": self.none}
        return {"mean": self.mean, "low": self.low, "high": self.high}

    @property
    def cells(self) -> tuple[str, str, str]:
        """The three cells of a table's row: mean, low, high."""
        low, high = ("–", f"– ({self.none})") if self.none else (f"{self.low:.4g}", f"{self.high:.4g}")
        return f"{self.mean:.4g}", low, high

    def __str__(self) -> str:
        """Return for example ``0.960 [0.865, 0.989]``, or ``1.5 (all 50 are equal: no interval)``."""
        if self.none:
            return f"{self.mean:.4g} ({self.none}: no interval)"
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return a success rate with Wilson's score interval, sound near 0 and 1 and for few trials.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.

    Raises:
        LaminarError: no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise LaminarError(f"a rate needs 0 <= successes <= trials and at least one trial, got {successes}/{trials}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / trials
    center = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    # rounding must not push an exact 0 or 1 out of the interval
    return Interval(rate, float(min(rate, max(0.0, center - half))), float(max(rate, min(1.0, center + half))))


def rate(successes: int, trials: int) -> Interval:
    """Return a success rate with Wilson's interval; a single trial has none, as it says little about another one.

    Raises:
        LaminarError: as `wilson` does.
    """
    found = wilson(successes, trials)
    return Interval.missing(found.mean, equal_ones(1)) if trials == 1 else found


def is_rate(values: ArrayLike) -> bool:
    """Tell whether the mean of values is a rate: each is 0 or 1, and at least one is 1, so that 1 can be reached."""
    array = np.asarray(values, np.float64)
    return bool(np.isin(array, (0.0, 1.0)).all() and array.any())


def interquartile_mean(values: Array) -> Array:
    """Return the mean of the middle half along the last axis.

    Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021.
    """
    cut = values.shape[-1] // 4
    ordered = np.sort(values, axis=-1)
    return ordered[..., cut : values.shape[-1] - cut].mean(axis=-1)


def bootstrap(
    strata: Sequence[ArrayLike] | ArrayLike,
    aggregate: str = "mean",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return an aggregate of all values with its stratified percentile bootstrap interval.

    Args:
        strata: one array of values, or one array a stratum (a training seed, a task); every resample draws each
            stratum anew from itself, with replacement, so that the strata keep their sizes.
        aggregate: "mean", "median" or "iqm" (interquartile mean) over all values together.
        confidence: coverage of the interval.
        resamples: number of bootstrap samples.
        seed: of the resampling, so that the same values give the same interval.

    Returns:
        The figure; without an interval where all values are equal, as every resample would be.

    Raises:
        LaminarError: no values, a non-finite value, or an unknown aggregate.
    """
    groups = _groups(strata)
    reduce = {"mean": lambda x: x.mean(-1), "median": lambda x: np.median(x, -1), "iqm": interquartile_mean}
    if aggregate not in reduce:
        raise LaminarError(f"unknown aggregate '{aggregate}'; choose one of {sorted(reduce)}")
    everything = np.concatenate(groups)
    if are_equal(everything):
        return Interval.missing(float(reduce[aggregate](everything)), equal_ones(len(everything)))
    generator = np.random.default_rng(seed)
    drawn = [group[generator.integers(len(group), size=(resamples, len(group)))] for group in groups]
    statistics = reduce[aggregate](np.concatenate(drawn, axis=1))
    low, high = np.quantile(statistics, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(reduce[aggregate](everything)), float(low), float(high))


def ratio_bootstrap(
    sums: Array, counts: Array, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[Array, Array, Array]:
    """Return ratios of totals, and both ends of their percentile bootstrap intervals, many figures at once.

    What is drawn anew are whole groups (episodes), as what lies in one is alike. A resample that has nothing of a
    figure does not count for it.

    Args:
        sums: (E, K) of each group.
        counts: (E, K) or (E, 1) what they are sums of; of each figure not all are 0.
        confidence: coverage of the intervals.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        Three arrays (K,).
    """
    groups = len(sums)
    weights = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    with np.errstate(invalid="ignore"):
        drawn = (weights @ sums) / (weights @ counts)
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return sums.sum(axis=0) / counts.sum(axis=0), low, high


def are_equal(values: ArrayLike) -> bool:
    """Tell whether values are equal up to rounding, so that their spread says nothing about another one."""
    array = np.asarray(values, np.float64)
    return bool(np.ptp(array) <= _ROUNDING * np.abs(array).max())


def equal_ones(count: int) -> str:
    """Return why so many equal values have no interval."""
    return "a single one" if count == 1 else f"all {count} are equal"


def _groups(strata: Sequence[ArrayLike] | ArrayLike) -> list[Array]:
    parts = list(strata) if isinstance(strata, Sequence) else [strata]
    nested = any(np.ndim(part) > 0 for part in parts)
    groups = [np.asarray(part, np.float64) for part in parts] if nested else [np.asarray(parts, np.float64)]
    groups = [group.reshape(-1) for group in groups]
    if not groups or any(len(group) == 0 for group in groups):
        raise LaminarError("an interval needs at least one value in every stratum")
    if not all(np.isfinite(group).all() for group in groups):
        raise LaminarError("an interval needs finite values; look for a diverged episode")
    return groups


def paired_rates(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the difference of two success rates measured on the same seeds, first minus second.

    Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
    1998, method 10 without continuity correction: Wilson's limits combined with the correlation of the pairs. Unlike
    a bootstrap it stays honest where all pairs agree.
    """
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    one, two = wilson(int(a.sum()), len(a), confidence), wilson(int(b.sum()), len(b), confidence)
    spread = np.sqrt(one.mean * (1 - one.mean) * two.mean * (1 - two.mean))
    correlation = (np.mean(a & b) - one.mean * two.mean) / spread if spread > 0 else 0.0

    def half(x: float, y: float) -> float:
        return float(np.sqrt(max(0.0, x**2 - 2 * correlation * x * y + y**2)))

    difference = one.mean - two.mean
    low = difference - half(one.mean - one.low, two.high - two.mean)
    high = difference + half(one.high - one.mean, two.mean - two.low)
    return Interval(difference, max(-1.0, low), min(1.0, high))


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean of a few independent values, such as one score a training seed, with Student's interval.

    Raises:
        LaminarError: fewer than two values, or a non-finite one.
    """
    (group,) = _groups(np.asarray(values, np.float64))
    if len(group) < 2:
        raise LaminarError("the spread of training seeds needs at least two of them; bootstrap one seed's episodes")
    if are_equal(group):
        return Interval.missing(float(group.mean()), equal_ones(len(group)))
    half = t_quantile(0.5 + confidence / 2, len(group) - 1) * group.std(ddof=1) / np.sqrt(len(group))
    return Interval(float(group.mean()), float(group.mean() - half), float(group.mean() + half))


def t_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's distribution for a probability in [0.5, 1), by bisection."""
    low, high = 0.0, 1.0
    while _t_central(high, degrees) < 2 * probability - 1:
        high *= 2
    for _ in range(80):  # halves the bracket down to rounding
        middle = (low + high) / 2
        low, high = (middle, high) if _t_central(middle, degrees) < 2 * probability - 1 else (low, middle)
    return (low + high) / 2


def _t_central(t: float, degrees: int) -> float:
    """P(|T| <= t), the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    theta = math.atan(t / math.sqrt(degrees))
    term = math.cos(theta) if degrees % 2 else 1.0
    total = 0.0
    for k in range(1 + degrees % 2, degrees, 2):
        total += term
        term *= k / (k + 1) * math.cos(theta) ** 2
    if degrees % 2:
        return 2 / math.pi * (theta + math.sin(theta) * total)
    return math.sin(theta) * total
