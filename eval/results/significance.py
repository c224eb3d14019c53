"""How surprising a paired difference is where there is none, and what of it is left when several were looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .scores import Interval, are_equal, paired_rates

LEVEL = 0.05  # of the 95 % intervals
FEWEST_PAIRS = 6  # with five pairs even five equal signs happen by chance in 6 % of cases
_ALL_FLIPS = 14  # seeds of which all 2^14 flips are counted
_FLIPS, _AT_ONCE = 50_000, 1000
_NEAR_CERTAIN = 1 - 1e-9  # the highest confidence that is looked at, so the lowest p is 1e-9


def sign_flip_p(gaps: ArrayLike) -> float | None:
    """Return the p-value of a mean of paired differences: the share of sign flips whose mean is as far from zero.

    Where two policies are alike, either could have had either value of a seed. It needs no distribution and stays
    right for few seeds, for which a bootstrap's tails are too short (Fisher, "The Design of Experiments", 1935, §21).

    Args:
        gaps: (N,) differences, one a seed. Up to 14 of them all flips are counted, else `_FLIPS` random ones, and the
            observed one is among them, so that p is never 0.

    Returns:
        None where all are equal, which has no interval either.
    """
    values = np.asarray(gaps, np.float64)
    if are_equal(values):
        return None
    count = len(values)
    bound = abs(values.sum()) * (1 - 1e-12)  # the same sum in another order may differ by rounding
    if count <= _ALL_FLIPS:
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float(np.mean(np.abs((2.0 * bits - 1.0) @ values) >= bound))
    generator, far = np.random.default_rng(0), 1
    for _ in range(_FLIPS // _AT_ONCE):
        signs = 2.0 * generator.integers(0, 2, (_AT_ONCE, count), dtype=np.int8) - 1.0
        far += int((np.abs(signs @ values) >= bound).sum())
    return far / (_FLIPS + 1)


def paired_rates_p(first: ArrayLike, second: ArrayLike) -> float:
    """Return the p-value of two success rates on the same seeds: 1 - the confidence up to which zero is excluded.

    It inverts `paired_rates`, so it is below 0.05 exactly where that 95 % interval excludes zero.
    """
    return _inverted(lambda confidence: paired_rates(first, second, confidence))


def _inverted(interval: Callable[[float], Interval]) -> float:
    def excludes_zero(confidence: float) -> bool:
        found = interval(confidence)
        return found.low > 0 or found.high < 0

    low, high = 0.0, _NEAR_CERTAIN
    if excludes_zero(high):
        return 1 - high
    for _ in range(60):  # halves the bracket down to rounding
        middle = (low + high) / 2
        low, high = (middle, high) if excludes_zero(middle) else (low, middle)
    return 1 - low


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for how many there are; an untested difference (None) stays so and counts for none.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979: the smallest is multiplied by their number m,
    the next one by m - 1, and so on, and none may fall below a smaller one. The chance of even one false finding among
    all of them stays below the level, whatever depends on what.
    """
    corrected: list[float | None] = [None] * len(p_values)
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    least = 0.0
    for rank, (p, index) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * p))
        corrected[index] = least
    return corrected
