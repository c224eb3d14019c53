"""What values each feature has: extremes, mean, deviation and quantiles of every number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spec import Feature

Array = NDArray[Any]
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
"""Name -> share of the values that lie below."""
_ROWS = 100_000  # evenly spread ones, at most, that tell the quantiles


def describe_array(value: Array) -> dict[str, Any]:
    """Return shape, type, and of each number min, max, mean, std and `QUANTILES`; of pictures one of all pixels.

    Args:
        value: (N, ...) in memory.
    """
    flat = value.reshape(-1, 1) if value.ndim > 2 else value.reshape(len(value), -1)
    some = flat[:: max(1, -(-len(flat) // _ROWS))]
    quantiles = np.quantile(some, list(QUANTILES.values()), axis=0)
    return {
        "shape": list(value.shape[1:]),
        "dtype": str(value.dtype),
        "min": _numbers(flat.min(axis=0)),
        "max": _numbers(flat.max(axis=0)),
        "mean": _numbers(flat.mean(axis=0, dtype=np.float64)),
        "std": _numbers(_deviation(flat)),
        **{name: _numbers(row) for name, row in zip(QUANTILES, quantiles, strict=True)},
    }


def labels(name: str, feature: Feature) -> list[str]:
    """Return a name for each number of a feature: its own, or "name[0]", "name[1]", …; "name" of a single one."""
    if len(feature.names) == feature.width:
        return list(feature.names)
    return [f"{name}[{at}]" for at in range(feature.width)] if feature.width > 1 else [name]


def _deviation(flat: Array) -> Array:
    """Return the deviation of each column: one by one, since the difference to the mean is a copy."""
    return np.array([column.std(dtype=np.float64) for column in flat.T])


def _numbers(row: Array) -> list[float]:
    return [float(x) for x in row]
