"""Pictures that films keep well."""

from __future__ import annotations

import numpy as np


def smooth(count: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Return pictures (count, height, width, 3) that a camera might take: nothing in them is sharp."""
    y, x, t = np.mgrid[0:height, 0:width, 0:count]
    waves = (
        np.sin(x / width * 5 + t / 9),
        np.cos(y / height * 4 - t / 7),
        np.sin((x + y) / (height + width) * 6 + t / 5),
    )
    return np.moveaxis(np.stack([127 + 100 * wave for wave in waves], axis=-1), 2, 0).astype(np.uint8)
