"""LeRobotDataset v2.0, v2.1 and v3.0: a folder with `meta/info.json`; see `data/lerobot/`.

What is read:

- `action`, and every feature `observation.*`, under the name that the data set gives it; names of joints come along.
- Pictures are RGB (H, W, 3) whatever the order of their axes; distances (depth) and gray films are left out.
- `next.reward`, `next.done` and `next.success`, or the same without `next.`, where there are any.
- Everything else that is numbers is kept in `infos`; "info.KEY", as laminar writes it, as KEY.
- Episodes end where `episode_index` changes. A row's frame is the one at `frame_index / fps` after its clip's start.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_actions, as_column, as_flags, as_values
from ..episodes import TIMESTAMP, Episodes
from ..instructed import Instruction, instruct
from ..lerobot.accounting import account
from ..lerobot.features import INFO, TASK_INDEX
from ..lerobot.info import BOOKKEEPING, NUMBERS, Info, Stored, is_data_set, read_info
from ..lerobot.tasks import check_listed
from ..recording import Recording, success_by_flag
from ..selection import EVERYTHING, Selection
from ..spec import Feature, Spec

if TYPE_CHECKING:
    from ..lerobot.columns import Rows
    from ..lerobot.listing import Listing

Array = NDArray[Any]
SELECTS = ("observation", "instruction", "video")
ACTION, INSTRUCTION = "action", "instruction"
_OBSERVED = "observation"
_REWARD, _DONE, _SUCCESS = (("next.reward", "reward"), ("next.done", "done"), ("next.success", "success"))
_TRUNCATED = "next.truncated"  # laminar writes it, so that `next.done` is sure to be the end of the task


def sniff(path: Path) -> bool:
    """Tell whether the path is a folder whose `meta/info.json` states the version of its layout."""
    return path.is_dir() and is_data_set(path)


def read(path: Path, selection: Selection = EVERYTHING) -> Episodes:
    """Read a data set.

    Args:
        path: its folder.
        selection: observations, "instruction" among them if `instruction` says how; and how pictures are read.

    Raises:
        LaminarError: pyarrow or av is missing, a file is missing or damaged, or two of them contradict each other.
    """
    _check_installed(path, "pyarrow")
    from ..lerobot.columns import read_rows
    from ..lerobot.listing import read_listing

    info = read_info(path)
    remarks: list[str] = []
    keys = _observed(info, selection, remarks)
    seen = [info.features[key] for key in keys if key != INSTRUCTION]
    films = [stored.key for stored in seen if stored.dtype == "video"]
    if any(stored.is_picture for stored in seen):
        _check_installed(path, "av")
    listing = read_listing(info, films)
    further = [one.key for one in info.features.values() if _is_further(one) and not one.key.startswith(_OBSERVED)]
    numeric = [stored.key for stored in seen if not stored.is_picture] + [ACTION, *further]
    rows = read_rows(info, listing, numeric)
    told = _instructions(listing, rows, selection, remarks, str(path))
    pictures = _pictures(info, seen, listing, rows, selection.video, remarks)
    observation = {key: pictures[key] if key in pictures else _seen(key, rows, told) for key in keys}
    remarks += account(info, listing, rows, [*keys, ACTION, *further])
    recording = Recording(
        path, observation, {}, as_actions(rows.values[ACTION], ACTION, path), np.zeros(0), np.zeros(0), rows.ends
    )
    recording.remarks = remarks
    _add_outcomes(recording, rows)
    used = {name for names in (_REWARD, _DONE, _SUCCESS, (_TRUNCATED,)) for name in names}
    recording.infos = {key: rows.values[key] for key in (TIMESTAMP, TASK_INDEX) if key in rows.values}
    recording.infos |= {_plain(key, further): rows.values[key] for key in further if key not in used}
    recording.tasks = _tasks(listing, rows)
    _add_spec(recording, info, told)
    return recording.episodes()


def _plain(key: str, keys: list[str]) -> str:
    """Return what a feature was called before laminar has written it; "timestamp" is then when rows were recorded."""
    plain = key.removeprefix(INFO)
    return key if plain in keys else plain


def _tasks(listing: Listing, rows: Rows) -> Array | None:
    """Return (E,) what each episode was to do, by its first row; None where no task has words."""
    index = rows.values.get("task_index")
    if index is None or not any(listing.tasks.values()):
        return None
    starts = np.concatenate([np.zeros(1, np.int64), rows.ends[:-1]])
    return np.array([listing.tasks.get(number, "") for number in index[starts].tolist()])


def _check_installed(path: Path, package: str) -> None:
    if find_spec(package) is None:
        raise LaminarError(f"{path}: reading LeRobot data needs {package}: pip install 'laminar[lerobot]'")


def _is_further(stored: Stored) -> bool:
    return stored.dtype in NUMBERS and stored.key not in (ACTION, *BOOKKEEPING)


def _observed(info: Info, selection: Selection, remarks: list[str]) -> list[str]:
    """Return the observations to read, "instruction" last unless its place is given."""
    if ACTION not in info.features:
        raise LaminarError(
            f"{info.file}: no feature '{ACTION}' (there are {sorted(info.features)}); record it with actions"
        )
    there = [one for one in info.features.values() if one.key.split(".")[0] == _OBSERVED]
    unfit = {one.key: reason for one in there if (reason := _unfit(one))}
    known = [one.key for one in there if one.key not in unfit]
    keys = list(selection.observation or known)
    for key in keys:
        if key in unfit:
            raise LaminarError(f"{info.file}: data.observation names '{key}', which {unfit[key]}; leave it out")
    if INSTRUCTION in keys and selection.instruction is None:
        raise LaminarError(f"{info.folder}: data.observation names 'instruction': choose one, data.instruction=task")
    if selection.instruction is not None and INSTRUCTION not in keys:
        keys.append(INSTRUCTION)
    replace(selection, observation=tuple(keys) or None).check_keys([*known, INSTRUCTION], str(info.folder))
    if not keys:
        raise LaminarError(f"{info.file}: no feature 'observation.*' that can be read ({sorted(info.features)})")
    remarks += [f"not read: '{key}', which {reason}" for key, reason in unfit.items()]
    return keys


def _unfit(stored: Stored) -> str:
    """Return why a feature cannot be observed, or nothing."""
    if stored.depth:
        return "holds distances (depth) as a film, whose values compression has changed"
    if stored.is_picture and (len(stored.shape) != 3 or stored.shape[2] != 3):
        return f"has pictures of shape {stored.shape}, expected three colors"
    return "" if stored.is_picture or stored.dtype in NUMBERS else f"holds {stored.dtype}"


def _instructions(
    listing: Listing, rows: Rows, selection: Selection, remarks: list[str], source: str
) -> Instruction | None:
    """Return the instructions that are asked for, and tell of the tasks otherwise."""
    index = rows.values.get("task_index")
    if selection.instruction is not None:
        if index is None:
            raise LaminarError(f"{source}: no column 'task_index', leave data.instruction out")
        check_listed(listing.tasks, index, source)
        return instruct(listing.tasks, index, selection.instruction, source)
    if index is not None and listing.tasks:
        check_listed(listing.tasks, index, source)
    if index is not None and any(listing.tasks.values()):
        names = [f"'{listing.tasks[number]}'" for number in np.unique(index).tolist()]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        remarks.append(f"tasks: {shown}; data.instruction=task or hashed shows them to a policy")
    return None


def _pictures(
    info: Info, seen: list[Stored], listing: Listing, rows: Rows, how: str | None, remarks: list[str]
) -> dict[str, Array]:
    if not any(stored.is_picture for stored in seen):
        return {}
    from ..lerobot.pictures import find_pictures, read_pictures
    from ..lerobot.recent import Recent

    recent = Recent()
    found = [
        find_pictures(info, stored, listing, rows, recent, remarks) for stored in seen if stored.is_picture
    ]  # all are checked before the first is unpacked
    return {one.key: read_pictures(one, info.folder, how, remarks) for one in found}


def _seen(key: str, rows: Rows, told: Instruction | None) -> Array:
    if key == INSTRUCTION and told is not None:
        return told.vectors
    value = rows.values[key]
    return as_values(value[:, None] if value.ndim == 1 else value)


def _add_outcomes(recording: Recording, rows: Rows) -> None:
    """Add rewards, and which episodes were ended by the task and which succeeded, as far as the data set tells."""
    path, last = recording.path, rows.ends - 1
    reward, done, success = (
        next((key for key in names if key in rows.values), None) for names in (_REWARD, _DONE, _SUCCESS)
    )
    recording.has_reward = reward is not None
    recording.reward = as_column(rows.values[reward], reward, path) if reward else np.zeros(int(rows.ends[-1]))
    recording.terminated = np.zeros(len(rows.ends), np.bool_)
    if reward is None:
        recording.remarks.append("no 'next.reward' and no 'reward': rewards are 0")
    if success is not None:
        flags = as_flags(rows.values[success], success, path)
        recording.success, recording.terminated = success_by_flag(flags, rows.ends), flags[last]
    if done is None:
        return
    flags = as_flags(rows.values[done], done, path)
    early = np.setdiff1d(np.flatnonzero(flags), last)
    if len(early):
        raise LaminarError(
            f"{path}: '{done}' is set in row {early[0]}, but 'episode_index' goes on there ({len(early)} such rows): "
            "they contradict each other; remove the wrong one"
        )
    if _TRUNCATED in rows.values:
        recording.terminated = flags[last] & ~as_flags(rows.values[_TRUNCATED], _TRUNCATED, path)[last]
    elif success is None:
        recording.terminated = flags[last]
        recording.remarks.append(f"'{done}' counts as the end of the task, not of its time: no 'next.success' tells")


def _add_spec(recording: Recording, info: Info, told: Instruction | None) -> None:
    features: dict[str, Feature] = {}
    for key, value in recording.observation.items():
        names, unit = (told.names, told.label) if key == INSTRUCTION and told else (info.features[key].names, "")
        features[key] = Feature(tuple(value.shape[1:]), str(value.dtype), unit, names)
    action = Feature(tuple(recording.action.shape[1:]), names=info.features[ACTION].names)
    recording.spec = Spec(features, action, rate_hz=info.rate_hz)
