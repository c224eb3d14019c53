"""From the arrays of a replay buffer to episodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_actions, as_column, check_rows
from ..episodes import Episodes
from ..recording import Recording, success_by_flag
from .ours import Ours, flat

Array = NDArray[Any]
ACTION, REWARD = "action", "reward"
INFOS = ("coverage", "n_contacts")  # PushT's
PUSHT_LIMITS = (0.0, 512.0)  # target position of the pusher in pixels
PUSHT_RATE = 10.0  # Hz, of its environment and its published recordings


@dataclass(frozen=True)
class Buffer:
    """What lies in a replay buffer.

    Attributes:
        path: the file, for messages.
        arrays: key -> (N, ...) of `data/`.
        ends: (E,) or (E, 1), `meta/episode_ends`.
        name: the environment's id, or else the file's name.
        lengths: `meta/episode_lengths`, where they are.
        remarks: of what was not read.
        ours: what a buffer has besides that laminar wrote.
    """

    path: Path
    arrays: dict[str, Array]
    ends: Array
    name: str
    lengths: Array | None = None
    remarks: list[str] = field(default_factory=lambda: [])
    ours: Ours | None = None


def to_episodes(buffer: Buffer) -> Episodes:
    """Return the episodes. A single observation array ("state") becomes the key "observation".

    Raises:
        LaminarError: a missing key, unequal lengths, episode ends that do not fit, non-finite values.
    """
    path, arrays = buffer.path, buffer.arrays
    if ACTION not in arrays:
        raise LaminarError(f"{path}: missing 'data/{ACTION}' (there are {sorted(arrays)})")
    steps = check_rows({f"data/{key}": value for key, value in arrays.items()}, path)
    ends = _checked_ends(buffer.ends, steps, path)
    if buffer.lengths is not None and not np.array_equal(buffer.lengths.reshape(-1), np.diff(ends, prepend=0)):
        raise LaminarError(
            f"{path}: 'meta/episode_lengths' and 'meta/episode_ends' contradict each other; remove the wrong one"
        )
    if buffer.ours is not None:
        return _written_by_us(buffer, buffer.ours, ends)
    observed = [key for key in arrays if key not in (ACTION, REWARD, *INFOS)]
    if not observed:
        raise LaminarError(f"{path}: 'data' holds no observation, only {sorted(arrays)}")
    names = {key: "observation" if len(observed) == 1 else key for key in observed}
    recording = Recording(
        path,
        {names[key]: arrays[key] for key in observed},
        {},
        as_actions(arrays[ACTION], f"data/{ACTION}", path),
        _reward(buffer, steps),
        np.zeros(len(ends), np.bool_),
        ends,
        has_reward=REWARD in arrays,
        infos={key: as_column(arrays[key], f"data/{key}", path) for key in INFOS if key in arrays},
        remarks=buffer.remarks,
    )
    if not recording.has_reward:
        recording.remarks.append("no 'data/reward': rewards are 0")
    if "pusht" in buffer.name:
        _add_pusht(recording)
    return recording.episodes()


def _written_by_us(buffer: Buffer, ours: Ours, ends: Array) -> Episodes:
    """Return the episodes as they were written."""
    path, arrays = buffer.path, buffer.arrays
    missing = [key for key in ours.spec.observation if flat(key) not in arrays or key not in ours.final]
    if missing:
        raise LaminarError(f"{path}: its spec names '{missing[0]}', and 'data' or 'final' lacks it; copy it again")
    observed = {key: arrays[flat(key)] for key in ours.spec.observation}
    others = sorted(arrays.keys() - {flat(key) for key in observed} - {ACTION, REWARD})
    if others:
        buffer.remarks.append(f"not read, arrays: {', '.join(repr(f'data/{key}') for key in others)}")
    return Recording(
        path,
        observed,
        ours.final,
        as_actions(arrays[ACTION], f"data/{ACTION}", path),
        _reward(buffer, int(ends[-1])),
        ours.terminated,
        ends,
        spec=ours.spec,
        success=ours.success,
        has_reward=REWARD in arrays,
        infos=ours.infos,
        remarks=buffer.remarks,
        tasks=ours.tasks,
    ).episodes()


def _reward(buffer: Buffer, steps: int) -> Array:
    if REWARD not in buffer.arrays:
        return np.zeros(steps, np.float32)
    return as_column(buffer.arrays[REWARD], f"data/{REWARD}", buffer.path)


def _checked_ends(ends: Array, steps: int, path: Path) -> Array:
    """Return (E,) int64: increasing, and ending with the rows."""
    ends = as_column(ends, "meta/episode_ends", path)
    if len(ends) == 0 or steps == 0:
        raise LaminarError(f"{path}: no episodes, 'meta/episode_ends' has {len(ends)} rows; record some first")
    if ends.dtype.kind not in "iu" or ends[0] < 1 or (np.diff(ends.astype(np.int64)) < 1).any():
        raise LaminarError(f"{path}: 'meta/episode_ends' must be increasing whole numbers above 0")
    if ends[-1] != steps:
        raise LaminarError(
            f"{path}: 'meta/episode_ends' ends at {ends[-1]}, but 'data/action' has {steps} rows; cut the longer one"
        )
    return ends.astype(np.int64)


def _add_pusht(recording: Recording) -> None:
    """PushT: actions are pixels, and reward 1 (95 % of the target covered) ends an episode with success."""
    width = recording.action.shape[1]
    recording.action_low, recording.action_high = (PUSHT_LIMITS[0],) * width, (PUSHT_LIMITS[1],) * width
    recording.rate_hz = PUSHT_RATE
    if recording.has_reward:
        recording.success = success_by_flag(recording.reward >= 1.0, recording.ends)
        recording.terminated = recording.reward[recording.ends - 1] >= 1.0
        recording.remarks.append("PushT: reward 1 counts as success and, in the last row, as termination")
