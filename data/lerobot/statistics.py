"""Statistics of columns as LeRobot keeps them: of all rows in `meta/stats.json`, of each episode beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_PICTURES = 32  # that stand for all, evenly spread
_PIXELS = 10_000  # of each


def statistics(values: Array, pictures: bool) -> dict[str, Any]:
    """Return plain lists by the names min, max, mean, std, count and those of the quantiles.

    Args:
        values: (N, D) numbers, or pictures (N, height, width, 3), of which some are read.
        pictures: statistics are of each channel, (3, 1, 1), in [0, 1].
    """
    if pictures:
        some = np.asarray(values[:: max(1, -(-len(values) // _PICTURES))])
        step = max(1, int(np.sqrt(some[0, ..., 0].size / _PIXELS)))
        count, rows = len(some), some[:, ::step, ::step].reshape(-1, some.shape[-1]) / 255.0
    else:
        count, rows = len(values), values.astype(np.float64)
    found = {"min": rows.min(axis=0), "max": rows.max(axis=0), "mean": rows.mean(axis=0), "std": rows.std(axis=0)}
    found |= dict(zip(_QUANTILES, np.quantile(rows, list(_QUANTILES.values()), axis=0), strict=True))
    plain = {name: (value[:, None, None] if pictures else value).tolist() for name, value in found.items()}
    return plain | {"count": [count]}
