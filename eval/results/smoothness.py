"""How smooth executed actions are: their mean squared jerk.

Jerk is the third derivative. Of actions u_0 … u_T-1 in units of their range it is the third difference
u_t+3 - 3 u_t+2 + 3 u_t+1 - u_t, times the cube of the control rate where that is known: range/s³, or else range/step³.
Squared, it is averaged over the T - 3 differences and over the dimensions of the action. A constant action, a ramp and
a parabola have none; one that jumps from limit to limit at every step has the most there is, 16 range²/step⁶.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

JERK = "mean squared jerk"
FEWEST_STEPS = 4  # that have a third difference


def mean_squared_jerk(
    actions: NDArray[np.floating], low: NDArray[np.floating], high: NDArray[np.floating], rate_hz: float | None
) -> float | None:
    """Return the mean squared jerk of the actions of one episode, in the unit that `unit` names.

    Args:
        actions: (T, A) as they were executed, within the limits.
        low: (A,) lower limits of the environment.
        high: (A,) upper limits; a dimension without both, or with equal ones, counts in its own unit.
        rate_hz: control steps a second; None counts a step as the unit of time.

    Returns:
        None for fewer than four steps, which have no third difference.
    """
    if len(actions) < FEWEST_STEPS:
        return None
    width = np.asarray(high, np.float64) - np.asarray(low, np.float64)
    width = np.where(np.isfinite(width) & (width > 0), width, 1.0)
    jerk = np.diff(np.asarray(actions, np.float64), n=3, axis=0) / width
    return float(np.mean(jerk**2) * (rate_hz or 1.0) ** 6)


def unit(rate_hz: float | None) -> str:
    """Return the unit of `mean_squared_jerk`."""
    return "range²/s⁶" if rate_hz else "range²/step⁶"
