"""Large arrays of one `.npz` archive: shapes and types without reading, rows in blocks. Small files: see `npz`."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import LaminarError
from .npz import DAMAGE

Array = NDArray[Any]
_ZIP = b"PK\x03\x04"
_SUFFIX = ".npy"


@dataclass(frozen=True)
class Member:
    """One array of numbers.

    Attributes:
        path: the archive.
        key: its name.
        shape: (N, ...).
        dtype: as it is stored.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def blocks(self, rows: int) -> Iterator[Array]:
        """Yield so many rows at once, all in their order.

        Raises:
            LaminarError: the bytes are damaged.
        """
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        with _reading(self.path, self.key) as stream:
            _layout(stream)
            for first in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - first)
                data = stream.read(count * size)
                if len(data) < count * size:
                    raise EOFError("the array ends too early")
                yield np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
            stream.read(1)  # the checksum is compared at the end

    def read(self) -> Array:
        """Return the whole array."""
        rows = max(1, self.shape[0])
        return np.concatenate([np.zeros((0, *self.shape[1:]), self.dtype), *self.blocks(rows)])


def members(path: Path) -> tuple[dict[str, Member], list[str]]:
    """Return the arrays of numbers by their names, and the names of whatever else is in the archive.

    Raises:
        LaminarError: the archive is damaged.
    """
    found: dict[str, Member] = {}
    others: list[str] = []
    for name, size in _listed(path):
        key = name.removesuffix(_SUFFIX)
        if key == name:
            others.append(name)
            continue
        with _reading(path, key) as stream:
            shape, fortran, dtype = _layout(stream)
            begin = stream.tell()
        plain = dtype.kind in "biuf" and len(shape) > 0 and not (fortran and len(shape) > 1)
        if not plain:
            others.append(f"{key} ({dtype}, {'scalar' if not shape else 'by columns' if fortran else shape})")
        elif math.prod(shape) * dtype.itemsize + begin != size:
            raise LaminarError(f"{path}: '{key}' is damaged, {size} bytes do not hold {dtype} {shape}; copy it again")
        else:
            found[key] = Member(path, key, shape, dtype)
    return found, others


def holds(path: Path, keys: set[str]) -> bool:
    """Tell whether a file is an archive with arrays of these names."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{key}{_SUFFIX}" for key in keys} <= set(archive.namelist())
    except (*DAMAGE, zipfile.BadZipFile):
        return False


def _listed(path: Path) -> list[tuple[str, int]]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [(one.filename, one.file_size) for one in archive.infolist()]
    except (*DAMAGE, zipfile.BadZipFile) as error:
        raise LaminarError(f"{path}: cut off or damaged npz file ({error}); copy it again") from error


@contextmanager
def _reading(path: Path, key: str) -> Generator[IO[bytes]]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}{_SUFFIX}") as stream:
            yield stream
    except (*DAMAGE, KeyError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise LaminarError(f"{path}: '{key}' cannot be read, it is damaged ({reason}); copy it again") from error


def _layout(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether columns lie together, and type; the stream is at the first number then."""
    version = npy.read_magic(stream)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return header(stream)
