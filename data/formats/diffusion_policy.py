"""Diffusion Policy's replay buffer in HDF5: `data/<key>` over all steps and `meta/episode_ends`.

Layout after Chi et al. 2023 (arXiv:2303.04137), whose own files are zarr with the same names: see `data/buffers/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..buffers.layout import Buffer, to_episodes
from ..episodes import Episodes
from ..hdf5.file import Kept, has_signature, open_hdf5
from ..packing import digest_of
from ..pictures import Stored, is_pictures, read_pictures

Array = NDArray[Any]


def sniff(path: Path) -> bool:
    """Tell whether the file has `data` and `meta/episode_ends`."""
    if not path.is_file() or not has_signature(path):
        return False
    with open_hdf5(path) as file:
        return file.has_group("data") and "meta/episode_ends" in file


def read(path: Path) -> Episodes:
    """Read a replay buffer. A single observation array ("state") becomes the key "observation".

    Raises:
        LaminarError: a missing key, unequal lengths, episode ends that do not fit, non-finite values.
    """
    with open_hdf5(path) as file:
        remarks: list[str] = []
        kept = file.kept("data", is_pictures)
        arrays = file.observations("data", skip=kept)
        arrays |= {key: _pictures(path, key, pictures, remarks) for key, pictures in kept.items()}
        ends = file.array("meta/episode_ends")
        name = (file.text("metadata/env_id") or path.name).lower()
        lengths = file.array("meta/episode_lengths") if "meta/episode_lengths" in file else None
        remarks += file.account.unread()
    return to_episodes(Buffer(path, dict(sorted(arrays.items())), ends, name, lengths, remarks))


def _pictures(path: Path, key: str, kept: Kept, remarks: list[str]) -> Array:
    def blocks(rows: int) -> Iterator[Array]:
        for first in range(0, kept.shape[0], rows):
            yield kept.rows(first, min(first + rows, kept.shape[0]))

    digest, name = digest_of(key, [path]), f"{path.name}.{key}"
    return read_pictures(Stored(path, key, name, kept.shape, kept.dtype, digest, blocks), remarks)
