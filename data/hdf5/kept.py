"""Pictures of many episodes, each an array of its own in one HDF5 file, as one array on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..packing import digest_of
from ..pictures import Stored, read_pictures
from .file import Kept

Array = NDArray[Any]
Part = tuple[
    str, int, Mapping[str, Kept]
]  # an episode's name, its steps, and its arrays by "obs/<key>", "next_obs/<key>"
_SEEN, _NEXT = "obs/", "next_obs/"


def read_pictures_of(
    parts: Sequence[Part], path: Path, chosen: str | None, remarks: list[str]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return key -> (N, ...) on disk, and key -> (E, ...) after the last step for those that have `next_obs`.

    Of the next pictures of an episode its first and last one are read; the first is held against the next row.

    Args:
        parts: the episodes, of the same keys; the file is open.
        path: the file.
        chosen: names the choice of episodes: each is packed for itself.
        remarks: of what had to be decided is added.

    Raises:
        LaminarError: pictures are damaged, or a next one is not that of the next row.
    """
    if not parts:
        return {}, {}
    keys = [key[len(_SEEN) :] for key in parts[0][2] if key.startswith(_SEEN)]
    found = {key: _pack(parts, key, path, chosen, remarks) for key in keys}
    final = {
        key: np.stack([_last(name, steps, kept, key, path) for name, steps, kept in parts])
        for key in keys
        if _NEXT + key in parts[0][2]
    }
    return found, final


def _pack(parts: Sequence[Part], key: str, path: Path, chosen: str | None, remarks: list[str]) -> Array:
    def blocks(rows: int) -> Iterator[Array]:
        for _, steps, kept in parts:
            for first in range(0, steps, rows):
                yield kept[_SEEN + key].rows(first, min(first + rows, steps))

    first, count = parts[0][2][_SEEN + key], sum(steps for _, steps, _ in parts)
    name = ".".join([path.name, *([chosen] if chosen else []), key])
    digest = digest_of(f"{key} {[(name, steps) for name, steps, _ in parts]}", [path])
    return read_pictures(Stored(path, key, name, (count, *first.shape[1:]), first.dtype, digest, blocks), remarks)


def _last(name: str, steps: int, kept: Mapping[str, Kept], key: str, path: Path) -> Array:
    seen, following = kept[_SEEN + key], kept[_NEXT + key]
    if steps > 1 and not np.array_equal(following.rows(0, 1), seen.rows(1, 2)):
        raise LaminarError(
            f"{path}: '{name}/next_obs/{key}' is not what the next row of 'obs' begins with, first in row 0; correct "
            "or remove next_obs"
        )
    return following.rows(steps - 1, steps)[0]
