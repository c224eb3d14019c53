"""Chunks that Blosc compressed: it reads on beyond the end of one that was cut, and hands out whatever lies there.

A chunk begins with 16 bytes that say how long it is (c-blosc, README_CHUNK_FORMAT).
"""

from __future__ import annotations

import struct
from typing import Any

from ...errors import LaminarError
from .files import Files

_HEADER = struct.Struct("<4B3I")  # versions, flags, size of a number; bytes plain, of a block, compressed
_SHARDS = "sharding_indexed"


def check_blosc(files: Files, array: str) -> None:
    """Refuse chunks of an array that are not as long as they say; nothing is read of those of other compressors.

    Raises:
        LaminarError: names the first such chunk.
    """
    about = files.description(array)
    if not _by_blosc(about):
        return
    for name, begin, size in files.beginnings(array, _HEADER.size):
        stated = _HEADER.unpack(begin)[6] if len(begin) == _HEADER.size else _HEADER.size
        if stated != size:
            raise LaminarError(f"{files.path}: '{name}' is damaged, it has {size} of {stated} bytes; copy it again")


def _by_blosc(about: dict[str, Any]) -> bool:
    """Tell whether Blosc compressed whole files last."""
    compressor, codecs = about.get("compressor"), about.get("codecs")
    if isinstance(compressor, dict):
        return compressor.get("id") == "blosc"
    named = [one.get("name") for one in codecs if isinstance(one, dict)] if isinstance(codecs, list) else []
    return _SHARDS not in named and named[-1:] == ["blosc"]
