"""Diffusion Policy's replay buffer in HDF5: `data/<key>` over all steps and `meta/episode_ends`.

Layout after Chi et al. 2023 (arXiv:2303.04137), whose own files are zarr with the same names: see `data/buffers/`.
"""

from __future__ import annotations

from pathlib import Path

from ..buffers.layout import Buffer, to_episodes
from ..episodes import Episodes
from ..hdf5.file import has_signature, open_hdf5


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
        arrays = file.observations("data")
        ends = file.array("meta/episode_ends")
        name = (file.text("metadata/env_id") or path.name).lower()
        lengths = file.array("meta/episode_lengths") if "meta/episode_lengths" in file else None
        return to_episodes(Buffer(path, arrays, ends, name, lengths, file.account.unread()))
