"""Small `.npz` files by the hundred thousand: one in some 30 microseconds, where `numpy.load` takes 280.

An npz file is a zip archive of `.npy` files. What numpy itself writes is read here directly: the archive's own
directory says where each member lies, and sizes and checksums must agree. Whatever looks unusual is left to `zipfile`,
which also has the last word on what is damaged.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import LaminarError, nearest

Array = NDArray[Any]
Source = str | PathLike[str]
_END = struct.Struct("<4s4H2LH")  # end of the directory
_ENTRY = struct.Struct("<4s6H3L5H2L")  # one member in the directory
_MEMBER = struct.Struct("<4s5H3L2H")  # one member at its place
_TAIL = 1 << 14  # bytes read at once from the file's end: all of a frame without images
_STORED, _DEFLATED = 0, 8
_LARGEST = 1 << 28  # bytes of one array, a thousand times what a frame's largest image takes
_DATE = 33  # 1 January 1980, the first day of zip: the same arrays give the same bytes
_COMPRESSED_FROM = 1024  # bytes; deflating less costs more time than it saves disk blocks
# What reading can raise: zipfile and numpy check much, but each in its own words.
DAMAGE = (OSError, ValueError, EOFError, RuntimeError, MemoryError, tokenize.TokenError)  # of one array
_DAMAGE = (*DAMAGE, struct.error, zlib.error, zipfile.BadZipFile)

Entry = tuple[int, int, int, int, int]  # method, checksum, packed size, size, place


def read(path: Source, keys: Sequence[str]) -> dict[str, Array]:
    """Return the named arrays of one file, read-only.

    Raises:
        LaminarError: the file is missing, truncated or damaged, lacks a key, or holds Python objects.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            try:
                members = _read_plain(file, keys)
            except (struct.error, zlib.error):
                members = None
        members = members or _read_unusual(path, keys)
        return {key: array(data) for key, data in members.items()}
    except FileNotFoundError as error:
        raise LaminarError(f"{path}: no such file; copy the data set again") from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def names(path: Source) -> list[str]:
    """Return the keys of one file.

    Raises:
        LaminarError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: Source, error: Exception) -> LaminarError:
    reason = " ".join(str(error).split())
    return LaminarError(f"{path}: truncated or damaged npz file ({reason}); copy it again")


def _read_plain(file: BinaryIO, keys: Sequence[str]) -> dict[str, bytes] | None:
    """Return the members as bytes, None where anything differs from what numpy writes."""
    size = file.seek(0, io.SEEK_END)
    base = max(0, size - _TAIL)
    file.seek(base)
    tail = file.read(_TAIL)
    entries = _directory(tail, base)
    if entries is None:
        return None
    members: dict[str, bytes] = {}
    for key in keys:
        entry = entries.get(f"{key}.npy".encode())
        data = None if entry is None else _unpack(file, tail, base, entry)
        if data is None:
            return None
        members[key] = data
    return members


def _directory(tail: bytes, base: int) -> dict[bytes, Entry] | None:
    signature, _, _, _, count, _, start, comment = _END.unpack_from(tail, len(tail) - _END.size)
    at = start - base
    if signature != b"PK\5\6" or comment or at < 0:
        return None
    entries: dict[bytes, Entry] = {}
    for _ in range(count):
        entry = _ENTRY.unpack_from(tail, at)
        flags, method, checksum, packed, size, name_length, extra, remark = entry[3], entry[4], *entry[7:13]
        if entry[0] != b"PK\1\2" or flags or method not in (_STORED, _DEFLATED) or extra or remark:
            return None
        name = tail[at + _ENTRY.size : at + _ENTRY.size + name_length]
        entries[name] = (method, checksum, packed, size, entry[16])
        at += _ENTRY.size + name_length
    return entries


def _unpack(file: BinaryIO, tail: bytes, base: int, entry: Entry) -> bytes | None:
    method, checksum, packed, size, place = entry
    if place < base:
        file.seek(place)
        tail, base = file.read(packed + 1024), place  # with room for the member's own header
    at = place - base
    header = _MEMBER.unpack_from(tail, at)
    begin = at + _MEMBER.size + header[9] + header[10]
    data = tail[begin : begin + packed]
    if header[0] != b"PK\3\4" or header[3] != method or len(data) != packed or size > _LARGEST:
        return None
    if method == _DEFLATED:
        data = zlib.decompressobj(-15).decompress(data, size + 1)  # whatever else it would inflate to
    return data if len(data) == size and zlib.crc32(data) == checksum else None


def _read_unusual(path: Source, keys: Sequence[str]) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        known = [name.removesuffix(".npy") for name in archive.namelist()]
        for key in keys:
            if key not in known:
                raise LaminarError(f"{path}: missing '{key}' (there are {sorted(known)}){nearest(key, known)}")
        return {key: _read_member(archive, archive.getinfo(f"{key}.npy")) for key in keys}


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.compress_type not in (_STORED, _DEFLATED):
        raise ValueError(f"'{member.filename}' is compressed by method {member.compress_type}, not by numpy")
    if member.file_size > _LARGEST:
        raise ValueError(f"'{member.filename}' would take {member.file_size >> 20} MB")
    with archive.open(member) as file:
        return file.read(member.file_size)  # no more, whatever it would inflate to


def array(data: bytes) -> Array:
    """Return the array of one `.npy` file in memory.

    Raises:
        ValueError: or another of `DAMAGE`; nothing that is larger than the file is made before.
    """
    end = 10 + int.from_bytes(data[8:10], "little")
    layout = _layout(data[:end])
    if layout is None:
        return _unusual_array(data)
    shape, dtype = layout
    return np.frombuffer(data, dtype, offset=end).reshape(shape)


def _unusual_array(data: bytes) -> Array:
    stream = io.BytesIO(data)
    header = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = header(stream)
    if math.prod(shape) * dtype.itemsize > len(data):
        raise ValueError(f"an array of shape {shape} in {len(data)} bytes")
    return npy.read_array(io.BytesIO(data), allow_pickle=False)


@lru_cache(maxsize=256)
def _layout(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Return shape and type, None where the bytes after the header are not simply the numbers in C order."""
    stream = io.BytesIO(header)
    if npy.read_magic(stream) != (1, 0):
        return None
    shape, fortran_order, dtype = npy.read_array_header_1_0(stream)
    return None if dtype.hasobject or (fortran_order and len(shape) > 1) else (shape, dtype)


def write(path: Source, arrays: Mapping[str, Array]) -> None:
    """Write one file that `numpy.load` reads; large arrays are deflated, small ones stored.

    Raises:
        OSError: the disk is full or not writable.
    """
    body, directory = bytearray(), bytearray()
    for key, array in arrays.items():
        name = f"{key}.npy".encode()
        data = _header(array.dtype.str, array.shape) + array.tobytes()
        method, packed = _STORED, data
        if len(data) >= _COMPRESSED_FROM:
            method, packed = _DEFLATED, zlib.compress(data, 1)[2:-4]  # zip wants it without zlib's frame
        sizes = (zlib.crc32(data), len(packed), len(data))
        directory += _ENTRY.pack(
            b"PK\1\2", 20, 20, 0, method, 0, _DATE, *sizes, len(name), 0, 0, 0, 0, 0o600 << 16, len(body)
        )
        directory += name
        body += _MEMBER.pack(b"PK\3\4", 20, 0, method, 0, _DATE, *sizes, len(name), 0) + name + packed
    end = _END.pack(b"PK\5\6", 0, 0, len(arrays), len(arrays), len(directory), len(body), 0)
    with open(path, "wb", buffering=0) as file:
        content = memoryview(body + directory + end)
        while content:  # one call may write a part only
            content = content[file.write(content) or 0 :]


@lru_cache(maxsize=256)
def _header(descr: str, shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()
