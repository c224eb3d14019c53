"""Which features are pictures, and what they look like: depth and masks become gray, all become bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..episodes import Episodes
from ..spec import Feature

if TYPE_CHECKING:
    from PIL import Image

Array = NDArray[Any]
_SMALLEST = 16  # pixels, of what has no channels: smaller ones are matrices


def is_picture(feature: Feature) -> bool:
    """Tell pictures (height, width), or with 1, 3 or 4 channels behind, from matrices and volumes."""
    shape = feature.shape
    if len(shape) == 2:
        return min(shape) >= _SMALLEST
    return len(shape) == 3 and shape[-1] in (1, 3, 4) and min(shape[:2]) >= 2


def is_number(key: str, feature: Feature) -> bool:
    """Tell what has one meaning a number: no picture, and no instruction."""
    return feature.dtype != "uint8" and len(feature.shape) < 3 and not is_picture(feature) and key != "instruction"


def cameras(episodes: Episodes) -> list[str]:
    """Return the keys of the observations that are pictures."""
    return [key for key, feature in episodes.spec.observation.items() if is_picture(feature)]


def picture(frame: Array, longest: int | None = None) -> Image.Image:
    """Return a frame as an RGB picture.

    Args:
        frame: (height, width) or with 1, 3 or 4 channels; what are no bytes is spread from its lowest to its highest.
        longest: pixels of the longer side; larger ones are made smaller, smaller ones stay. None leaves all.
    """
    from PIL import Image

    values = frame if frame.dtype == np.uint8 else _spread(frame)
    if values.ndim == 3:
        values = values[..., 0] if values.shape[-1] == 1 else values[..., :3]
    shown = Image.fromarray(np.ascontiguousarray(values)).convert("RGB")
    if longest is not None and max(shown.size) > longest:
        scale = longest / max(shown.size)
        width, height = (max(1, round(side * scale)) for side in shown.size)
        shown = shown.resize((width, height), Image.Resampling.BOX, reducing_gap=2.0)
    return shown


def _spread(frame: Array) -> Array:
    values = np.nan_to_num(frame.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    return (255 * (values - low) / (high - low or 1.0)).astype(np.uint8)
