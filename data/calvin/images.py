"""Images of a split, packed once into one memory-mapped file a key, so that training reads only what it needs.

An image in a frame's file is compressed, and inflating it takes far longer than reading its bare pixels. The packed
file lies in `.laminar` beside the frames. Its name carries a digest of the names, sizes and times of all frames, so
that changed data are packed anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...errors import LaminarError
from .. import npz
from ..packing import CACHE, digest_of, packed_name, packed_or_held
from .frames import Frames

Array = NDArray[Any]


def read_images(frames: Frames, key: str, remarks: list[str]) -> Array:
    """Return (N, ...) for the frames `frames.numbers`; on disk, or in memory where the folder is read-only.

    Bytes stay bytes; floating point (depth) becomes float32.

    Raises:
        LaminarError: a frame is missing or damaged or has another shape, a value is not finite, or the disk is full.
    """
    paths = (frames.path(number) for number in frames.numbers.tolist())
    file = frames.folder / CACHE / packed_name(key, digest_of(key, paths))
    return packed_or_held(file, key, len(frames.numbers), lambda: _images(frames, key), remarks)


def _images(frames: Frames, key: str) -> Iterator[Array]:
    """Yield the image of each frame, (1, ...)."""
    first: Array | None = None
    for number in tqdm(frames.numbers.tolist(), desc=f"packing {key}", unit="frame", mininterval=1.0, disable=None):
        path = frames.path(number)
        image = npz.read(path, [key])[key]
        image = image.astype(np.float32) if image.dtype.kind == "f" else image
        first = image if first is None else first
        if image.shape != first.shape or image.dtype != first.dtype or image.dtype.kind not in "uf":
            expected = (
                f"{first.dtype} of shape {first.shape}" if first.dtype.kind in "uf" else "bytes or floating point"
            )
            raise LaminarError(f"{path}: '{key}' is {image.dtype} of shape {image.shape}, expected {expected}")
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise LaminarError(f"{path}: '{key}' is not finite; repair or remove the frame")
        yield image[None]
