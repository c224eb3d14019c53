"""Diffusion Policy's replay buffer in zarr, a folder or a zip archive, of version 2 or 3: see `data/buffers/`.

Pictures are packed once beside the data and read from there.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..buffers.files import find_store
from ..buffers.layout import Buffer, to_episodes
from ..buffers.ours import read_ours
from ..buffers.store import Store, open_store
from ..episodes import Episodes
from ..packing import digest_of
from ..pictures import Stored, is_pictures, read_pictures

Array = NDArray[Any]
_SPARSE = 1  # numbers a step of rewards and flags, which are written only where there is something to say


def sniff(path: Path) -> bool:
    """Tell whether a folder or zip archive is a store with `meta/episode_ends`."""
    return find_store(path) is not None


def read(path: Path) -> Episodes:
    """Read a replay buffer.

    Raises:
        LaminarError: zarr is missing, a chunk or key is missing or damaged, unequal lengths, episode ends that do not
            fit, values that are not finite.
    """
    files = find_store(path)
    assert files is not None
    remarks: list[str] = []
    with open_store(files) as store:
        ends = store.read("meta/episode_ends")
        lengths = store.read("meta/episode_lengths") if "meta/episode_lengths" in store else None
        ours = read_ours(store, path)
        arrays = {key: _read(store, key, remarks) for key in store.below("data")}
        remarks += store.unread()
    return to_episodes(Buffer(path, arrays, ends, path.name.lower(), lengths, remarks, ours))


def _read(store: Store, key: str, remarks: list[str]) -> Array:
    """Return (N, ...) of at least two axes, pictures on disk."""
    name = f"data/{key}"
    array: Any = store.stored(name, _SPARSE)
    if is_pictures(array.shape, array.dtype):
        digest, packed = digest_of(key, store.files_of(name)), f"{store.path.name}.{key}"
        read = partial(store.blocks, name, array)
        return read_pictures(Stored(store.path, key, packed, array.shape, array.dtype, digest, read), remarks)
    values = store.read(name, _SPARSE)
    return values[:, None] if values.ndim == 1 else values
