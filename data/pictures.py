"""Pictures that a file keeps pixel by pixel: bytes, height first and channels last, on disk whatever the file has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import LaminarError
from .packing import CACHE, packed_name, packed_or_held

Array = NDArray[Any]
_CHANNELS = (1, 3, 4)
_COLORS = (3, 4)  # channels of floating point that may be bytes; depth and masks have one
_SMALLEST = 8  # pixels of a side; less are other numbers, in four axes for another reason
_BLOCK = 1 << 24  # bytes that are read at once


@dataclass(frozen=True)
class Stored:
    """An array in a file.

    Attributes:
        path: the file, for messages.
        key: of the observation.
        name: begins the name of the packed file.
        shape: (N, ...).
        dtype: as it is stored.
        digest: differs when the data do.
        blocks: reads about so many rows at once, all in their order.
    """

    path: Path
    key: str
    name: str
    shape: tuple[int, ...]
    dtype: Any
    digest: str
    blocks: Callable[[int], Iterator[Array]]


def is_pictures(shape: tuple[int, ...], dtype: Any) -> bool:
    """Tell whether an array of this shape and type holds pictures, channels first or last."""
    if len(shape) != 4 or not (dtype == np.uint8 or dtype.kind == "f") or shape[0] == 0:
        return False
    sides = shape[2:] if _channels_first(shape) else shape[1:3]
    return (_channels_first(shape) or shape[3] in _CHANNELS) and (dtype == np.uint8 or min(sides) >= _SMALLEST)


def is_plain(shape: tuple[int, ...], dtype: Any) -> bool:
    """Tell whether they are pictures as they are handed on: bytes, channels last."""
    return dtype == np.uint8 and is_pictures(shape, dtype) and not _channels_first(shape)


def read_pictures(stored: Stored, remarks: list[str]) -> Array:
    """Return (N, height, width, channels) on disk: bytes, or floating point where it has other values than a picture.

    They are packed into one file beside the data, once; where the folder is read-only they are held in memory.

    Raises:
        LaminarError: a value is not finite, or the disk is full.
    """
    where = f"'{stored.key}'"
    file = stored.path.parent / CACHE / packed_name(stored.name, stored.digest)
    pictures = packed_or_held(file, stored.key, stored.shape[0], lambda: _shown(stored), remarks)
    if pictures.dtype == np.uint8 and stored.dtype != np.uint8:
        remarks.append(f"pictures {where} are {stored.dtype} in the file and are read as bytes, 0 to 255")
    if _channels_first(stored.shape):
        remarks.append(f"pictures {where} have their channels first in the file and are turned")
    return pictures


def _channels_first(shape: tuple[int, ...]) -> bool:
    return shape[1] in _CHANNELS and shape[3] not in _CHANNELS


def _rows(stored: Stored) -> int:
    """Return how many rows are read at once."""
    return max(1, _BLOCK // max(1, int(np.prod(stored.shape[1:])) * stored.dtype.itemsize))


def _shown(stored: Stored) -> Iterator[Array]:
    """Yield blocks of pictures as they are handed on, with a bar on a terminal."""
    scale = _scale(stored)
    with tqdm(total=stored.shape[0], desc=f"packing {stored.key}", unit="frame", mininterval=1.0, disable=None) as bar:
        for block in stored.blocks(_rows(stored)):
            turned = block.transpose(0, 2, 3, 1) if _channels_first(stored.shape) else block
            if stored.dtype == np.uint8:
                yield turned
            else:
                yield turned.astype(np.float32) if scale is None else np.rint(turned * scale).astype(np.uint8)
            bar.update(len(block))


def _scale(stored: Stored) -> float | None:
    """Return what makes bytes of numbers: 255 for colours of 0 to 1, 1 for 0 to 255, None where they are none."""
    if stored.dtype == np.uint8:
        return 1.0
    low, high = np.inf, -np.inf
    for block in stored.blocks(_rows(stored)):
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise LaminarError(f"{stored.path}: '{stored.key}' is not finite; repair or remove these rows")
    channels = stored.shape[1] if _channels_first(stored.shape) else stored.shape[3]
    if low < 0 or high > 255 or channels not in _COLORS:
        return None
    return 255.0 if high <= 1 else 1.0
