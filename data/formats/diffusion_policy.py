"""Diffusion Policy's replay buffer in HDF5: `data/<key>` over all steps and `meta/episode_ends`.

Layout after Chi et al. 2023 (arXiv:2303.04137), whose own files are zarr with the same names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_actions, as_column, check_rows
from ..episodes import Episodes
from ..hdf5.file import has_signature, open_hdf5
from ..recording import Recording, success_by_flag

Array = NDArray[Any]
_NOT_OBSERVED = ("action", "reward", "coverage", "n_contacts")
PUSHT_LIMITS = (0.0, 512.0)  # target position of the pusher in pixels
PUSHT_RATE = 10.0  # Hz, of its environment and its published recordings


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
        ends = as_column(file.array("meta/episode_ends"), "meta/episode_ends", path)
        name = (file.text("metadata/env_id") or path.name).lower()
        lengths = file.array("meta/episode_lengths") if "meta/episode_lengths" in file else None
        unread = file.account.unread()
    if "action" not in arrays:
        raise LaminarError(f"{path}: missing 'data/action' (there are {sorted(arrays)})")
    steps = check_rows({f"data/{key}": value for key, value in arrays.items()}, path)
    ends = _checked_ends(ends, steps, path)
    if lengths is not None and not np.array_equal(lengths.reshape(-1), np.diff(ends, prepend=0)):
        raise LaminarError(
            f"{path}: 'meta/episode_lengths' and 'meta/episode_ends' contradict each other; remove the wrong one"
        )
    observed = [key for key in arrays if key not in _NOT_OBSERVED]
    if not observed:
        raise LaminarError(f"{path}: 'data' holds no observation, only {sorted(arrays)}")
    names = {key: "observation" if len(observed) == 1 else key for key in observed}
    known_reward = "reward" in arrays
    reward = as_column(arrays["reward"], "data/reward", path) if known_reward else np.zeros(steps, np.float32)
    recording = Recording(
        path,
        {names[key]: arrays[key] for key in observed},
        {},
        as_actions(arrays["action"], "data/action", path),
        reward,
        np.zeros(len(ends), np.bool_),
        ends,
        has_reward=known_reward,
        infos={key: as_column(arrays[key], f"data/{key}", path) for key in _NOT_OBSERVED[2:] if key in arrays},
        remarks=unread,
    )
    if not known_reward:
        recording.remarks.append("no 'data/reward': rewards are 0")
    if "pusht" in name:
        _add_pusht(recording, known_reward)
    return recording.episodes()


def _checked_ends(ends: Array, steps: int, path: Path) -> Array:
    if len(ends) == 0 or steps == 0:
        raise LaminarError(f"{path}: no episodes, 'meta/episode_ends' has {len(ends)} rows; record some first")
    if ends.dtype.kind not in "iu" or ends[0] < 1 or (np.diff(ends.astype(np.int64)) < 1).any():
        raise LaminarError(f"{path}: 'meta/episode_ends' must be increasing whole numbers above 0")
    if ends[-1] != steps:
        raise LaminarError(
            f"{path}: 'meta/episode_ends' ends at {ends[-1]}, but 'data/action' has {steps} rows; cut the longer one"
        )
    return ends.astype(np.int64)


def _add_pusht(recording: Recording, known_reward: bool) -> None:
    """PushT: actions are pixels, and reward 1 (95 % of the target covered) ends an episode with success."""
    width = recording.action.shape[1]
    recording.action_low, recording.action_high = (PUSHT_LIMITS[0],) * width, (PUSHT_LIMITS[1],) * width
    recording.rate_hz = PUSHT_RATE
    if known_reward:
        recording.success = success_by_flag(recording.reward >= 1.0, recording.ends)
        recording.terminated = recording.reward[recording.ends - 1] >= 1.0
        recording.remarks.append("PushT: reward 1 counts as success and, in the last row, as termination")
