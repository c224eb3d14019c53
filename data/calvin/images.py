"""Images of a split, packed once into one memory-mapped file a key, so that training reads only what it needs.

An image in a frame's file is compressed, and inflating it takes far longer than reading its bare pixels. The packed
file lies in `.laminar` beside the frames. Its name carries a digest of the names, sizes and times of all frames, so
that changed data are packed anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from tqdm import tqdm

from ...errors import LaminarError
from .. import npz
from ..on_disk import on_disk
from .frames import Frames

Array = NDArray[Any]
CACHE = ".laminar"


def read_images(frames: Frames, key: str, remarks: list[str]) -> Array:
    """Return (N, ...) for the frames `frames.numbers`; on disk, or in memory where the folder is read-only.

    Bytes stay bytes; floating point (depth) becomes float32.

    Raises:
        LaminarError: a frame is missing or damaged or has another shape, a value is not finite, or the disk is full.
    """
    folder = frames.folder / CACHE
    file = folder / f"{key}-{_fingerprint(frames, key)}.npy"
    packed = _open(file)
    if packed is None:
        if not os.access(folder if folder.exists() else frames.folder, os.W_OK):
            remarks.append(f"the folder is read-only: '{key}' cannot be packed beside it and is held in memory")
            return np.stack(list(_images(frames, key)))
        _pack(frames, key, file)
        packed = np.load(file, mmap_mode="r", allow_pickle=False)
    return on_disk([packed])


def _fingerprint(frames: Frames, key: str) -> str:
    digest = hashlib.sha256(key.encode())
    for number in frames.numbers.tolist():
        path = frames.path(number)
        status = os.stat(path)
        digest.update(f"{os.path.basename(path)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _open(file: Path) -> Array | None:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False) if file.is_file() else None
    except npz.DAMAGE:  # copied in part
        return None


def _images(frames: Frames, key: str) -> Iterator[Array]:
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
        yield image


def _pack(frames: Frames, key: str, file: Path) -> None:
    """Write the packed file, whole or not at all, and remove those of older data."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    count = len(frames.numbers)
    try:
        file.parent.mkdir(exist_ok=True)
        images = _images(frames, key)
        image = next(images)
        free, needed = shutil.disk_usage(file.parent).free, count * image.nbytes
        if needed > free:
            raise LaminarError(
                f"{file.parent}: packing '{key}' takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room"
            )
        with partial.open("wb") as stream:  # not through a memory map, whose only word on a full disk is a signal
            layout = {"descr": image.dtype.str, "fortran_order": False, "shape": (count, *image.shape)}
            npy.write_array_header_1_0(stream, layout)
            stream.write(image.tobytes())
            for image in images:
                stream.write(image.tobytes())
        os.replace(partial, file)
    except OSError as error:
        raise LaminarError(f"{file}: cannot be written ({error.strerror}); make room, or leave '{key}' out") from error
    finally:
        partial.unlink(missing_ok=True)
    for older in file.parent.glob(f"{key}-*.npy"):
        if older != file:
            older.unlink(missing_ok=True)
