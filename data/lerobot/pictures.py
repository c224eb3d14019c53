"""Pictures of a data set, from films or Parquet: unpacked once into a memory map, or decoded where they are used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...errors import LaminarError
from ..on_disk import on_disk
from ..packing import CACHE, digest_of, is_writable, open_packed, pack, packed_name, room
from .columns import Rows
from .encoded import Encoded
from .film import Film
from .info import Info, Stored
from .listing import Clip, Listing
from .recent import Recent
from .streaming import Streamed

Array = NDArray[Any]
_BLOCK = 256  # pictures that are decoded at a time while packing
STREAM, PACK = "stream", "cache"


@dataclass(frozen=True)
class Pictures:
    """Pictures of one feature before anything is decoded.

    Attributes:
        source: all of them (N, H, W, 3), each decoded when it is read.
        files: that they are in.
        digest: of what decides which picture belongs to which row.
    """

    key: str
    source: Streamed | Encoded
    files: tuple[Path, ...]
    digest: bytes


def find_pictures(
    info: Info, stored: Stored, listing: Listing, rows: Rows, recent: Recent, remarks: list[str]
) -> Pictures:
    """Return the pictures of a feature, with all that can be checked without decoding.

    Raises:
        LaminarError: a file is missing or damaged, of another size, of an unknown codec, or too short.
    """
    if stored.dtype == "image":
        files = tuple(file for file, _ in rows.files)
        return Pictures(stored.key, Encoded(stored, rows.files, recent), files, b"")
    clips = [listing.clips[stored.key][place] for place in np.argsort(listing.numbers, kind="stable").tolist()]
    lengths = np.diff(rows.ends, prepend=0)
    height, width, channels = stored.shape
    names = list(dict.fromkeys(clip.file for clip in clips))
    films = [Film(file, (height, width, channels), info.rate_hz) for file in names]
    which = np.repeat(_places(names, clips), lengths)
    _check_films(films, np.bincount(which, minlength=len(films)), stored.key, remarks)
    seconds = np.repeat([clip.start for clip in clips], lengths) + rows.frame / info.rate_hz
    digest = hashlib.sha256(which.tobytes() + seconds.tobytes()).digest()
    return Pictures(stored.key, Streamed(films, which, seconds, recent), tuple(names), digest)


def _places(names: Sequence[Path], clips: Sequence[Clip]) -> list[int]:
    place = {name: number for number, name in enumerate(names)}
    return [place[clip.file] for clip in clips]


def _check_films(films: Sequence[Film], needed: Array, key: str, remarks: list[str]) -> None:
    more = sum(film.check(count) > count for film, count in zip(films, needed.tolist(), strict=True))
    if more:
        remarks.append(
            f"'{key}': {more} of {len(films)} films have more frames than there are rows, which are not read"
        )


def read_pictures(pictures: Pictures, folder: Path, how: str | None, remarks: list[str]) -> Array:
    """Return the pictures (N, H, W, 3), each read when it is used.

    Args:
        pictures: from `find_pictures`.
        folder: of the data set.
        how: "cache" unpacks them into a file first; "stream" decodes again and again; None unpacks where there is room.
        remarks: get what was decided.

    Raises:
        LaminarError: a picture is damaged, or there is no room for "cache".
    """
    if how == STREAM:
        return on_disk([pictures.source])
    name = packed_name(pictures.key, digest_of(pictures.key, pictures.files, pictures.digest))
    places = [folder / CACHE, _own_cache(folder)]
    for place in places:
        packed = open_packed(place / name)
        if packed is not None:
            return on_disk([packed])
    needed = int(np.prod(pictures.source.shape, dtype=np.int64))
    place = next((one for one in places if is_writable(one) and room(one) > needed), None)
    if place is None and how is None:
        remarks.append(
            f"'{pictures.key}' is decoded again and again, which is slower: there are no {needed / 1e9:.1f} GB to "
            f"unpack it in {places[0]} or {places[1]}"
        )
        return on_disk([pictures.source])
    if place is None:
        raise LaminarError(
            f"{folder}: unpacking '{pictures.key}' takes {needed / 1e9:.1f} GB, which neither {places[0]} nor "
            f"{places[1]} has; make room, or set data.video=stream"
        )
    source = pictures.source
    return on_disk([pack(place / name, pictures.key, source.shape, source.dtype, lambda: _blocks(pictures))])


def _own_cache(folder: Path) -> Path:
    """Return the user's folder for what cannot lie beside the data."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()[:16]
    return Path(home) / "laminar" / f"{folder.name}-{name}"


def _blocks(pictures: Pictures) -> Iterator[Array]:
    count = len(pictures.source)
    with tqdm(total=count, desc=f"packing {pictures.key}", unit="frame", mininterval=1.0, disable=None) as bar:
        for first in range(0, count, _BLOCK):
            block = pictures.source[np.arange(first, min(first + _BLOCK, count))]
            yield block
            bar.update(len(block))
