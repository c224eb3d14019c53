"""Images of a split, packed once into one memory-mapped file a key: see `packed`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .. import npz
from ..packed import Source, fingerprint, packed
from .frames import Frames

Array = NDArray[Any]


def read_images(frames: Frames, key: str, remarks: list[str]) -> Array:
    """Return (N, ...) for the frames `frames.numbers`; on disk, or in memory where the folder is read-only.

    Bytes stay bytes; floating point (depth) becomes float32.

    Raises:
        LaminarError: a frame is missing or damaged or has another shape, a value is not finite, or the disk is full.
    """
    files = (frames.path(number) for number in frames.numbers.tolist())
    count, digest = len(frames.numbers), fingerprint(key, files)
    return packed(Source(frames.folder, key, key, count, digest, lambda: _images(frames, key)), remarks)


def _images(frames: Frames, key: str) -> Iterator[Array]:
    """Yield the frames one by one (1, ...)."""
    first: Array | None = None
    for number in frames.numbers.tolist():
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
