"""Global heaps of an HDF5 file, where texts lie: the library never comes to the end of one overwritten with zeros."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_SIGNATURE = b"GCOL"
_HEAD = struct.Struct("<4sB3xQ")  # signature, version, bytes in all
_OBJECT = struct.Struct("<HH4xQ")  # number (0: what is free), references, bytes
_SMALLEST = 4096  # bytes of a heap
_LOOKED_AT = 1 << 18  # bytes at either end of a file


def endless_heap(path: Path) -> int | None:
    """Return where a heap lies that the library would never come to the end of; None where it finds the end of all.

    Only the first and the last quarter of a megabyte are looked at, where writers put their texts.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for begin in sorted({0, max(0, size - _LOOKED_AT)}):
            file.seek(begin)
            part = file.read(_LOOKED_AT)
            for at in _heaps(part):
                if not _ends(part, at):
                    return begin + at
    return None


def _heaps(part: bytes) -> Iterator[int]:
    at = part.find(_SIGNATURE)
    while at >= 0:
        if at + _HEAD.size <= len(part):
            yield at
        at = part.find(_SIGNATURE, at + 1)


def _ends(part: bytes, at: int) -> bool:
    """Follow the objects of a heap as the library does: what is free counts with its head, all else in eights."""
    _, version, size = _HEAD.unpack_from(part, at)
    if version != 1 or size < _SMALLEST:
        return True  # four letters in some array
    end = min(len(part), at + size)
    at += _HEAD.size
    while at + _OBJECT.size <= end:
        number, _, length = _OBJECT.unpack_from(part, at)
        if number == 0 and length == 0:
            return False
        at += length if number == 0 else _OBJECT.size + (length + 7) // 8 * 8
    return True
