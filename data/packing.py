"""Arrays that are made once and then read from a memory map: files in `.laminar` beside the data.

A file's name carries a digest of what it was made of, so that changed data are packed anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import LaminarError
from . import npz
from .on_disk import on_disk

Array = NDArray[Any]
CACHE = ".laminar"
_DIGITS = 16  # of a digest in a name


def packed_name(key: str, digest: str) -> str:
    """Return the name of a packed file; a key may hold what no file name may."""
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in key)
    return f"{safe[:100]}-{digest[:_DIGITS]}.npy"


def digest_of(key: str, files: Iterable[str | Path], more: bytes = b"") -> str:
    """Return a digest of a key, and of names, sizes and times of files."""
    digest = hashlib.sha256(key.encode(errors="surrogatepass") + more)
    for file in files:
        status = os.stat(file)
        digest.update(f"{os.path.basename(file)} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "replace"))
    return digest.hexdigest()


def open_packed(file: Path) -> Array | None:
    """Return the memory map of a packed file, or None where there is none that is whole."""
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False) if file.is_file() else None
    except npz.DAMAGE:  # copied in part
        return None


def is_writable(folder: Path) -> bool:
    """Tell whether a folder takes files, or the one that it would be made in."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def room(folder: Path) -> int:
    """Return the free bytes where a folder is or would be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def packed_or_held(
    file: Path, key: str, count: int, blocks: Callable[[], Iterator[Array]], remarks: list[str]
) -> Array:
    """Return rows that are packed into a file once and read there, or held in memory where its folder is read-only.

    Args:
        file: where they are packed.
        key: what they are called.
        count: N of them, at least one.
        blocks: yields them, some (n, ...) at a time; called only where they are not packed yet.
        remarks: says so of those that are held.

    Raises:
        LaminarError: there is no room.
    """
    packed = open_packed(file)
    if packed is None:
        made = blocks()
        if not is_writable(file.parent):
            remarks.append(f"the folder is read-only: '{key}' cannot be packed beside it and is held in memory")
            return np.concatenate(list(made))
        first = next(made)
        packed = pack(file, key, (count, *first.shape[1:]), first.dtype, lambda: chain([first], made))
    return on_disk([packed])


def pack(
    file: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Callable[[], Iterable[Array]]
) -> Array:
    """Write the parts of an array one after the other, whole or not at all, and remove packed files of older data.

    Returns:
        The memory map (of `shape`).

    Raises:
        LaminarError: there is no room.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    try:
        file.parent.mkdir(exist_ok=True, parents=True)
        free = room(file.parent)
        if needed > free:
            raise LaminarError(
                f"{file.parent}: packing '{key}' takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room"
            )
        with partial.open("wb") as stream:  # not through a memory map, whose only word on a full disk is a signal
            npy.write_array_header_1_0(stream, {"descr": dtype.str, "fortran_order": False, "shape": shape})
            for part in parts():
                stream.write(part.tobytes())
        os.replace(partial, file)
    except OSError as error:
        raise LaminarError(f"{file}: cannot be written ({error.strerror}); make room, or leave '{key}' out") from error
    finally:
        partial.unlink(missing_ok=True)
    _remove_older(file)
    packed = open_packed(file)
    if packed is None:
        raise LaminarError(f"{file}: cannot be read back; check the disk")
    return packed


def _remove_older(file: Path) -> None:
    """Remove packed files of the same key, which differ in the digest alone."""
    stem, suffix = file.name[: -_DIGITS - len(file.suffix)], file.suffix
    for other in file.parent.iterdir():
        digest = other.name[len(stem) : -len(suffix)]
        alike = other.name.startswith(stem) and other.name.endswith(suffix) and len(digest) == _DIGITS
        if alike and other != file and all(letter in "0123456789abcdef" for letter in digest):
            other.unlink(missing_ok=True)
