"""Pictures that a file keeps as JPEG or PNG, one string of bytes a step."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError

Array = NDArray[Any]
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG")


def holds_pictures(dataset: Any) -> bool:
    """Tell whether a dataset of one value a step holds compressed pictures.

    They are byte strings of different lengths, or rows of bytes padded to one length.
    """
    import h5py

    kind: Any = h5py.check_vlen_dtype(dataset.dtype)
    strings = dataset.ndim == 1 and (kind == np.uint8 or dataset.dtype.kind in "SV")
    padded = dataset.ndim == 2 and dataset.dtype == np.uint8
    if not (strings or padded) or not dataset.size:
        return False
    return _bytes(dataset[0]).startswith(_BEGINNINGS)


def decode(dataset: Any, rows: int | None, path: Path) -> Array:
    """Return the first `rows` pictures (N, height, width, channels) uint8 of a dataset, or all: 1 channel or 3.

    Raises:
        LaminarError: one of them is damaged, or of another size than the first; it is named.
    """
    pictures: Array | None = None
    stored = dataset[:rows]
    for row, value in enumerate(stored):
        picture = _decode(_bytes(value), row, dataset.name, path)
        if pictures is None:
            pictures = np.empty((len(stored), *picture.shape), np.uint8)
        if picture.shape != pictures.shape[1:]:
            raise LaminarError(
                f"{path}: picture {row} of '{dataset.name}' has shape {picture.shape}, the first {pictures.shape[1:]}; "
                "bring them to one size"
            )
        pictures[row] = picture
    assert pictures is not None  # `holds_pictures` has seen one
    return pictures


def _decode(content: bytes, row: int, name: str, path: Path) -> Array:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            image.load()
            plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
            values = np.asarray(plain, np.uint8)
    except Exception as error:  # what a damaged picture raises differs from decoder to decoder
        reason = " ".join(str(error).split()).replace(str(io.BytesIO), "")
        raise LaminarError(f"{path}: picture {row} of '{name}' is damaged ({reason}); record it again") from error
    return values[:, :, None] if values.ndim == 2 else values


def _bytes(value: Any) -> bytes:
    return value.tobytes() if isinstance(value, np.ndarray | np.void) else bytes(value)
