"""Minari HDF5: one group an episode, T actions and T + 1 observations; `metadata.json` beside it.

Layout after Minari 0.5 (Farama Foundation): a dataset is the file `<id>/data/main_data.hdf5`; the
folder `<id>` is taken as well. A group is one episode: a flag that ends it before its last step is a contradiction, and
so are counts of steps and episodes, in attributes and metadata, that are not those of the arrays. Pictures may be kept
as JPEG. Rewards are optional, and flags: an episode without them is truncated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_actions, as_column, as_flags, check_rows
from ..episodes import Episodes
from ..hdf5.file import Group, has_signature, open_hdf5
from ..recording import Recording

Array = NDArray[Any]
_PREFIX = "episode_"
_FLAGS = ("terminations", "truncations")
_STEP_KEYS = ("actions", "rewards", *_FLAGS)
_COUNTS = {"total_episodes": "episodes", "total_steps": "steps"}


def sniff(path: Path) -> bool:
    """Tell whether the file (or a dataset folder's main file) has Minari's episode groups."""
    file_path = _main_file(path)
    if not file_path.is_file() or not has_signature(file_path):
        return False
    with open_hdf5(file_path) as file:
        return file.has_numbered(_PREFIX, "actions", "observations")


def read(path: Path) -> Episodes:
    """Read a Minari file or dataset folder.

    Raises:
        LaminarError: a missing key, unequal lengths, damaged pictures or discrete values, non-finite values, flags or
            counts that contradict the arrays.
    """
    main = _main_file(path)
    with open_hdf5(main) as file:
        names = file.numbered(_PREFIX)
        parts = [_read_episode(file.group(name), name) for name in names]
        unread = file.account.unread()
    steps = _same([part["step"] for part in parts], "arrays", names, main)
    observations = _same([part["observation"] for part in parts], "observations", names, main)
    lengths = [len(step["actions"]) for step in steps]
    terminated = [bool(step["terminations"][-1]) if "terminations" in step else False for step in steps]
    has_reward = "rewards" in steps[0]
    recording = Recording(
        main,
        {key: np.concatenate([values[key][:-1] for values in observations]) for key in observations[0]},
        {key: np.stack([values[key][-1] for values in observations]) for key in observations[0]},
        np.concatenate([step["actions"] for step in steps]),
        np.concatenate([step["rewards"] for step in steps]) if has_reward else np.zeros(sum(lengths), np.float32),
        np.array(terminated),
        np.cumsum(lengths),
        has_reward=has_reward,
    )
    _remark_flags(recording, steps)
    _add_infos(recording, [part["infos"] for part in parts], lengths)
    recording.remarks += unread
    _add_metadata(recording, main.with_name("metadata.json"))
    return recording.episodes()


def _main_file(path: Path) -> Path:
    inside = [path / "data" / "main_data.hdf5", path / "main_data.hdf5"]
    return next((file for file in inside if file.is_file()), path)


def _read_episode(group: Group, name: str) -> dict[str, dict[str, Array]]:
    path = group.path
    step = {key: group.array(key, sparse=key != "actions") for key in _STEP_KEYS if key == "actions" or key in group}
    step["actions"] = as_actions(step["actions"], "actions", path)
    if "rewards" in step:
        step["rewards"] = as_column(step["rewards"], f"{name}/rewards", path)
    count = check_rows({f"{name}/{key}": value for key, value in step.items()}, path)
    if count == 0:
        raise LaminarError(f"{path}: episode '{name}' has no steps; remove it from the file")
    _check_statements(group, name, step, count)
    observation = group.observations("observations")
    for key, value in observation.items():
        if len(value) != count + 1:
            where = f"{name}/observations"
            rows = f"{len(value)} rows, expected {count + 1} for {count} actions"
            raise LaminarError(f"{path}: '{where}' ({key}) has {rows}")
    infos = group.arrays("infos") if group.has_group("infos") else {}
    return {"step": step, "observation": observation, "infos": infos}


def _check_statements(group: Group, name: str, step: dict[str, Array], count: int) -> None:
    """Make the flags bool, and raise where they or the attribute end the episode elsewhere than its arrays do."""
    for key in _FLAGS:
        if key not in step:
            continue
        step[key] = as_flags(step[key], f"{name}/{key}", group.path)
        early = np.flatnonzero(step[key][:-1])
        if len(early):
            raise LaminarError(
                f"{group.path}: '{name}/{key}' is raised in row {early[0]}, but the episode has {count} rows; split "
                "the episode there, or correct the flag"
            )
    stated = group.count("total_steps")
    if stated is not None and stated != count:
        raise LaminarError(
            f"{group.path}: attribute 'total_steps' of '{name}' says {stated}, but its arrays have {count} rows; "
            "correct the wrong one of the two"
        )


def _is_count(stated: Any, count: int) -> bool:
    return np.ndim(stated) == 0 and bool(stated == count)


def _remark_flags(recording: Recording, steps: Sequence[Mapping[str, Array]]) -> None:
    lacking = [f"'{key}'" for key in ("rewards", *_FLAGS) if key not in steps[0]]
    if lacking:
        recording.remarks.append(
            f"no {', '.join(lacking)}: an episode without flags is truncated, one without rewards is for cloning only"
        )
    ended = [any(bool(step[key][-1]) for key in _FLAGS if key in step) for step in steps]
    if not all(ended) and not lacking:
        recording.remarks.append(f"{ended.count(False)} episodes end without a flag and are truncated")


def _same(parts: Sequence[dict[str, Array]], what: str, names: Sequence[str], path: Path) -> Sequence[dict[str, Array]]:
    expected = {key: value.shape[1:] for key, value in parts[0].items()}
    for name, part in zip(names, parts, strict=True):
        got = {key: value.shape[1:] for key, value in part.items()}
        if got != expected:
            raise LaminarError(f"{path}: {what} of '{name}' are {got}, those of '{names[0]}' {expected}")
    return parts


def _add_infos(recording: Recording, parts: Sequence[dict[str, Array]], lengths: Sequence[int]) -> None:
    """Keep infos with T or T + 1 rows in every episode; of T + 1, row t belongs to observation t."""
    odd: list[str] = []
    for key in sorted({key for part in parts for key in part}):
        values = [part.get(key, np.zeros(0)) for part in parts]
        extra = {len(value) - length if value.ndim else -1 for value, length in zip(values, lengths, strict=True)}
        if not extra <= {0, 1} or len(extra) != 1 or len({value.shape[1:] for value in values}) != 1:
            odd.append(key)
            continue
        if key == "success" and values[0].ndim == 1:
            recording.success = np.array([bool(value.any()) for value in values])
            recording.remarks.append("success: infos/success raised at any step")
        rows = [value[:length] for value, length in zip(values, lengths, strict=True)]
        recording.infos[key] = np.concatenate(rows)
    if odd:
        recording.remarks.append(f"infos {odd} do not have one row a step in every episode and are left out")


def _add_metadata(recording: Recording, file: Path) -> None:
    """Take action limits from metadata.json, and hold its counts against the arrays."""
    if not file.is_file():
        recording.remarks.append("no metadata.json beside the file: no action limits are assumed")
        return
    metadata = _read_json(file)
    counts = {"episodes": len(recording.ends), "steps": len(recording.action)}
    for key, what in _COUNTS.items():
        if key in metadata and not _is_count(metadata[key], counts[what]):
            raise LaminarError(
                f"{file}: '{key}' says {metadata[key]}, but {recording.path.name} has {counts[what]}; correct the "
                "wrong one of the two"
            )
    if "action_space" in metadata:
        _add_limits(recording, metadata["action_space"], file)
    else:
        recording.remarks.append("no 'action_space' in metadata.json: no action limits are assumed")
    unread = sorted(metadata.keys() - {"action_space", *_COUNTS})
    if unread:
        recording.remarks.append(f"not read, of metadata.json: {', '.join(unread)}")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        metadata: Any = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LaminarError(f"{file}: not JSON ({' '.join(str(error).split())}); copy it again") from error
    if not isinstance(metadata, dict):
        raise LaminarError(f"{file}: holds a {type(metadata).__name__}, expected a dictionary; copy it again")
    return metadata


def _add_limits(recording: Recording, stored: Any, file: Path) -> None:
    try:
        space = json.loads(stored) if isinstance(stored, str) else stored
        low, high = np.array(space["low"], np.float64), np.array(space["high"], np.float64)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LaminarError(f"{file}: 'action_space' is not a Box as JSON ({error!r})") from error
    width = recording.action.shape[1]
    if low.shape != (width,) or high.shape != (width,):
        raise LaminarError(f"{file}: action_space has shape {low.shape}, the actions are {width} wide")
    if np.isfinite(low).all() and np.isfinite(high).all():
        recording.action_low, recording.action_high = tuple(low.tolist()), tuple(high.tolist())
