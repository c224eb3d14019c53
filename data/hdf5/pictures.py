"""Pictures that a file keeps as JPEG or PNG, one string of bytes a step."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError

Array = NDArray[Any]
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I;16N")  # as Pillow calls them
_PALETTES = {"1": "L", "P": "RGB"}
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG")


def may_hold_pictures(dataset: Any) -> bool:
    """Tell whether a dataset of one value a step is of a type that pictures are kept in.

    They are byte strings of different lengths, or rows of bytes padded to one length.
    """
    import h5py

    try:
        kind: Any = h5py.check_vlen_dtype(dataset.dtype)
    except (TypeError, ValueError):  # a type that numpy does not have
        return False
    strings = dataset.ndim == 1 and (kind == np.uint8 or dataset.dtype.kind in "SV")
    return bool(dataset.size) and (strings or (dataset.ndim == 2 and dataset.dtype == np.uint8))


def holds_pictures(dataset: Any) -> bool:
    """Tell whether such a dataset holds compressed pictures, by the first one.

    Raises:
        OSError: it cannot be read.
    """
    return _bytes(dataset[0]).startswith(_BEGINNINGS)


def decode(dataset: Any, rows: int | None, path: Path, where: str) -> Array:
    """Return the first `rows` pictures (N, height, width, channels) of a dataset, or all.

    Bytes are uint8; gray pictures and masks have one channel. Depth of 16 bits is uint16.

    Raises:
        LaminarError: one of them is damaged, of a kind that is not read, or unlike the first one; it is named.
    """
    pictures: Array | None = None
    stored = dataset[:rows]
    for row, value in enumerate(stored):
        picture = decode_one(_bytes(value), row, where, path)
        if pictures is None:
            pictures = np.empty((len(stored), *picture.shape), picture.dtype)
        if picture.shape != pictures.shape[1:] or picture.dtype != pictures.dtype:
            raise LaminarError(
                f"{path}: picture {row} of '{where}' has shape {picture.shape}, the first {pictures.shape[1:]}; bring "
                "them to one size and kind"
            )
        pictures[row] = picture
    assert pictures is not None  # `holds_pictures` has seen one
    return pictures


def decode_one(content: bytes, row: int, where: str, path: Path) -> Array:
    """Return one picture (height, width, channels), as `decode` does.

    Args:
        content: of a JPEG or PNG file.
        row: of the picture, for messages.
        where: it is from, for messages.
        path: the file that it is in, for messages.

    Raises:
        LaminarError: it is damaged, or of a kind that is not read.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            image.load()
            mode = image.mode
            plain = image.convert(_PALETTES[mode]) if mode in _PALETTES else image
            values = np.asarray(plain)
    except Exception as error:  # what a damaged picture raises differs from decoder to decoder
        reason = " ".join(re.sub(r"<.*>", "its bytes", str(error)).split())
        raise LaminarError(f"{path}: picture {row} of '{where}' is damaged ({reason}); record it again") from error
    if mode not in _MODES:
        raise LaminarError(
            f"{path}: picture {row} of '{where}' is of the kind {mode}, and only gray, color and 16-bit depth are "
            "read; convert it"
        )
    values = values.astype(np.uint16 if mode.startswith("I") else np.uint8)
    return values[:, :, None] if values.ndim == 2 else values


def _bytes(value: Any) -> bytes:
    return value.tobytes() if isinstance(value, np.ndarray | np.void) else bytes(value)
