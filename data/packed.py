"""Arrays of pictures, packed once into one memory-mapped file a key, so that training reads only what it needs.

What is compressed takes far longer to inflate than its bare pixels take to read. A packed file lies in `.laminar`
beside the data. Its name carries a digest of what it was made from, so that changed data are packed anew.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import LaminarError
from . import npz
from .on_disk import on_disk

Array = NDArray[Any]
CACHE = ".laminar"
_DIGEST = 16  # letters


@dataclass(frozen=True)
class Source:
    """What is packed.

    Attributes:
        home: folder that the cache is put into.
        name: begins the name of the packed file.
        key: of the observation, for messages.
        count: number of rows N.
        fingerprint: differs when the data do.
        blocks: reads the rows (n, ...) in their order, all of one type and shape a row.
    """

    home: Path
    name: str
    key: str
    count: int
    fingerprint: str
    blocks: Callable[[], Iterator[Array]]


def fingerprint(key: str, files: Iterable[str | Path]) -> str:
    """Return a digest of the names, sizes and times of files."""
    digest = hashlib.sha256(key.encode())
    for path in files:
        status = os.stat(path)
        digest.update(f"{os.path.basename(path)} {status.st_size} {status.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()[:_DIGEST]


def packed(source: Source, remarks: list[str]) -> Array:
    """Return (N, ...), on disk; or in memory where the folder is read-only, with a remark.

    Raises:
        LaminarError: the disk is full, or what `blocks` raises.
    """
    folder = source.home / CACHE
    file = folder / f"{quote(source.name, safe='')}-{source.fingerprint}.npy"
    found = _open(file)
    if found is None:
        if not os.access(folder if folder.exists() else source.home, os.W_OK):
            remarks.append(f"the folder is read-only: '{source.key}' cannot be packed beside it and is held in memory")
            return np.concatenate(list(source.blocks()))
        _pack(source, file)
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    return on_disk([found])


def _open(file: Path) -> Array | None:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False) if file.is_file() else None
    except npz.DAMAGE:  # copied in part
        return None


def _pack(source: Source, file: Path) -> None:
    """Write the packed file, whole or not at all, and remove those of older data."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(exist_ok=True)
        with tqdm(
            total=source.count, desc=f"packing {source.key}", unit="frame", mininterval=1.0, disable=None
        ) as shown:
            blocks = source.blocks()
            block = next(blocks)
            _check_room(source, block[0].nbytes, file.parent)
            with partial.open("wb") as stream:  # not through a memory map, whose only word on a full disk is a signal
                layout = {
                    "descr": block.dtype.str,
                    "fortran_order": False,
                    "shape": (source.count, *block.shape[1:]),
                }
                npy.write_array_header_1_0(stream, layout)
                while block is not None:
                    stream.write(np.ascontiguousarray(block).data)
                    shown.update(len(block))
                    block = next(blocks, None)
        os.replace(partial, file)
    except OSError as error:
        raise LaminarError(
            f"{file}: cannot be written ({error.strerror}); make room, or leave '{source.key}' out"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    name = file.name[: -len(f"{source.fingerprint}.npy")]
    for older in file.parent.glob(glob.escape(name) + "?" * _DIGEST + ".npy"):
        if older != file:
            older.unlink(missing_ok=True)


def _check_room(source: Source, size: int, folder: Path) -> None:
    free, needed = shutil.disk_usage(folder).free, source.count * size
    if needed > free:
        raise LaminarError(
            f"{folder}: packing '{source.key}' takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room"
        )
