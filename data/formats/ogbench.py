"""OGBench's `.npz`: flat arrays `observations`, `actions` and `terminals`, trajectories one after the other.

Layout after OGBench 1.2 (Park et al. 2025, arXiv:2410.20092), in the three forms that its `load_dataset` has:

- as published: a row more than steps, `terminals` marks the last one. It only gives the final observation: its action
  leads nowhere.
- compact, with `valids`: the same rows, 0 marks those whose action leads nowhere.
- with `next_observations`: every row is a step, `terminals` marks the last one.

A trajectory ends because its time is over: truncated. `rewards` and `masks` are there where a task was chosen
(`relabel_dataset`). Mask 0, the goal is reached, terminates the task on the way, although the recording goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_actions, as_column, as_flags, as_rows
from ..episodes import Episodes
from ..npz_members import Member, holds, members
from ..packing import digest_of
from ..pictures import Stored, is_pictures, read_pictures
from ..recording import Recording, success_by_flag

Array = NDArray[Any]
NO_REWARDS = "no 'rewards'"
"""Begin of the remark on a file without them."""
_NEEDED = ("observations", "actions", "terminals")
_NEXT, _REWARDS, _MASKS, _VALIDS = "next_observations", "rewards", "masks", "valids"
_INFOS = ("qpos", "qvel", "button_states")
_READ = (*_NEEDED, _NEXT, _REWARDS, _MASKS, _VALIDS, *_INFOS)


def sniff(path: Path) -> bool:
    """Tell whether the file is an npz archive with OGBench's three arrays."""
    return holds(path, set(_NEEDED))


def read(path: Path) -> Episodes:
    """Read a file of OGBench.

    Raises:
        LaminarError: an array is missing or damaged, unequal lengths, or `terminals` and `valids` that contradict each
            other.
    """
    remarks: list[str] = []
    found, others = members(path)
    _check_rows(found, path)
    arrays = {key: _array(found[key], remarks) for key in _READ if key in found}
    flags = {key: as_flags(arrays.pop(key), key, path) for key in ("terminals", _MASKS, _VALIDS) if key in arrays}
    steps, last = _steps(flags, _NEXT in arrays, path, remarks)
    reached = ~flags[_MASKS][steps] if _MASKS in flags else np.zeros(len(steps), np.bool_)
    ends = np.flatnonzero(last) + 1
    seen = as_rows(arrays["observations"], "observations", path)
    final = as_rows(arrays[_NEXT], _NEXT, path)[steps[ends - 1]] if _NEXT in arrays else seen[steps[ends - 1] + 1]
    reward = as_column(arrays[_REWARDS], _REWARDS, path)[steps] if _REWARDS in arrays else None
    recording = Recording(
        path,
        {"observation": seen[steps]},
        {"observation": final},
        as_actions(arrays["actions"], "actions", path)[steps],
        np.zeros(len(steps), np.float32) if reward is None else reward,
        reached[ends - 1],
        ends,
        has_reward=reward is not None,
        success=success_by_flag(reached, ends) if _MASKS in flags else None,
        infos={key: arrays[key][steps] for key in _INFOS if key in arrays},
        remarks=remarks,
    )
    _remark(recording, found, others, int((reached & ~last).sum()))
    recording.assume_unit_limits("OGBench")
    episodes = recording.episodes()
    episodes.terminated |= reached
    return episodes


def _check_rows(found: Mapping[str, Member], path: Path) -> None:
    rows = {key: found[key].shape[0] for key in _READ if key in found}
    missing = [key for key in _NEEDED if key not in rows]
    if missing:
        raise LaminarError(f"{path}: '{missing[0]}' holds no rows of numbers")
    for key, count in rows.items():
        if count != rows["actions"]:
            raise LaminarError(f"{path}: '{key}' has {count} rows but 'actions' has {rows['actions']}")
    if not rows["actions"]:
        raise LaminarError(f"{path}: no episodes, its arrays have no rows; record some first")


def _array(member: Member, remarks: list[str]) -> Array:
    """Return all rows, pictures on disk."""
    if not is_pictures(member.shape, member.dtype):
        return member.read()
    name, digest = f"{member.path.name}.{member.key}", digest_of(member.key, [member.path])
    stored = Stored(member.path, member.key, name, member.shape, member.dtype, digest, member.blocks)
    return read_pictures(stored, remarks)


def _steps(flags: Mapping[str, Array], own_next: bool, path: Path, remarks: list[str]) -> tuple[Array, Array]:
    """Return (N,) the rows that are steps, and (N,) bool, which of them is the last of its trajectory."""
    terminals = flags["terminals"].copy()
    if not terminals[-1]:
        remarks.append("'terminals' does not mark the last row: its trajectory is taken to end there")
        terminals[-1] = True
    if own_next:
        return np.arange(len(terminals)), terminals
    leading = flags.get(_VALIDS, ~terminals)
    wrong = np.flatnonzero((~leading & ~terminals) | (leading & (np.arange(len(leading)) == len(leading) - 1)))
    if len(wrong):
        raise LaminarError(
            f"{path}: 'valids' and 'terminals' contradict each other in {len(wrong)} rows, first in row {wrong[0]}"
        )
    steps = np.flatnonzero(leading)
    if not len(steps):
        raise LaminarError(f"{path}: no episodes, every row is the last of its trajectory")
    return steps, ~leading[steps + 1]


def _remark(recording: Recording, found: Mapping[str, Member], others: list[str], reached: int) -> None:
    remarks = recording.remarks
    unread = [f"'{key}'" for key in sorted(found) if key not in _READ]
    remarks += [f"not read, arrays: {', '.join(unread)}"] if unread else []
    remarks += [f"not read, files: {', '.join(sorted(others))}"] if others else []
    if not recording.has_reward:
        remarks.append(f"{NO_REWARDS}: good for cloning; data.task=ID gives those of a task")
    if reached:
        remarks.append(f"the goal is reached in {reached} steps after which the recording goes on")
    beside = recording.path.with_name(f"{recording.path.stem}-val{recording.path.suffix}")
    if beside.exists():
        remarks.append(f"{beside.name} beside it, the validation set, is a file of its own")
