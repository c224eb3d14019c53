"""Minari HDF5: one group an episode, T actions and T + 1 observations; `metadata.json` beside it.

Layout after Minari 0.5 (Farama Foundation): a dataset is the file `<id>/data/main_data.hdf5`; the
folder `<id>` is taken as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .. import hdf5
from ..episodes import Episodes
from ..recording import Recording

Array = NDArray[Any]
_PREFIX = "episode_"
_STEP_KEYS = ("actions", "rewards", "terminations", "truncations")


def sniff(path: Path) -> bool:
    """Tell whether the file (or a dataset folder's main file) has Minari's episode groups."""
    file_path = _main_file(path)
    if not file_path.is_file() or not hdf5.has_signature(file_path):
        return False
    with hdf5.open_hdf5(file_path) as file:
        return any("terminations" in file[name] for name in hdf5.numbered_groups(file, _PREFIX))


def read(path: Path) -> Episodes:
    """Read a Minari file or dataset folder.

    Raises:
        LaminarError: a missing key, unequal lengths, JPEG or discrete values, non-finite values.
    """
    main = _main_file(path)
    with hdf5.open_hdf5(main) as file:
        names = hdf5.numbered_groups(file, _PREFIX)
        parts = [_read_episode(file, name, main) for name in names]
    steps = [part["step"] for part in parts]
    observations = _same_keys([part["observation"] for part in parts], names, main)
    terminations = np.array([bool(step["terminations"][-1]) for step in steps])
    recording = Recording(
        main,
        {key: np.concatenate([values[key][:-1] for values in observations]) for key in observations[0]},
        {key: np.stack([values[key][-1] for values in observations]) for key in observations[0]},
        hdf5.as_actions(np.concatenate([step["actions"] for step in steps]), "actions", main),
        np.concatenate([step["rewards"] for step in steps]),
        terminations,
        np.cumsum([len(step["rewards"]) for step in steps]),
    )
    _add_infos(recording, [part["infos"] for part in parts], [len(step["rewards"]) for step in steps])
    _add_limits(recording, main.with_name("metadata.json"))
    return recording.episodes()


def _main_file(path: Path) -> Path:
    inside = [path / "data" / "main_data.hdf5", path / "main_data.hdf5"]
    return next((file for file in inside if file.is_file()), path)


def _read_episode(file: Any, name: str, path: Path) -> dict[str, dict[str, Array]]:
    group = file[name]
    step = {key: hdf5.read_array(group, key, path) for key in _STEP_KEYS}
    step["rewards"] = hdf5.as_column(step["rewards"], f"{name}/rewards", path)
    count = hdf5.check_rows({f"{name}/{key}": value for key, value in step.items()}, path)
    if count == 0:
        raise LaminarError(f"{path}: episode '{name}' has no steps; remove it from the file")
    observation = hdf5.read_observations(group, "observations", path)
    for key, value in observation.items():
        if len(value) != count + 1:
            where = f"{name}/observations"
            rows = f"{len(value)} rows, expected {count + 1} for {count} actions"
            raise LaminarError(f"{path}: '{where}' ({key}) has {rows}")
    has_infos = "infos" in group and hdf5.is_group(group["infos"])
    infos = hdf5.read_tree(group, "infos", path) if has_infos else {}
    return {"step": step, "observation": observation, "infos": infos}


def _same_keys(parts: Sequence[dict[str, Array]], names: Sequence[str], path: Path) -> Sequence[dict[str, Array]]:
    expected = {key: value.shape[1:] for key, value in parts[0].items()}
    for name, part in zip(names, parts, strict=True):
        got = {key: value.shape[1:] for key, value in part.items()}
        if got != expected:
            raise LaminarError(f"{path}: observations of '{name}' are {got}, those of '{names[0]}' {expected}")
    return parts


def _add_infos(recording: Recording, parts: Sequence[dict[str, Array]], lengths: Sequence[int]) -> None:
    """Keep infos with T or T + 1 rows in every episode; of T + 1, row t belongs to observation t."""
    odd: list[str] = []
    for key in parts[0]:
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


def _add_limits(recording: Recording, metadata: Path) -> None:
    if not metadata.is_file():
        recording.remarks.append("no metadata.json beside the file: no action limits are assumed")
        return
    try:
        space = json.loads(json.loads(metadata.read_text(encoding="utf-8"))["action_space"])
        low, high = np.array(space["low"], np.float64), np.array(space["high"], np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise LaminarError(f"{metadata}: 'action_space' is not a Box as JSON ({error!r})") from error
    width = recording.action.shape[1]
    if low.shape != (width,) or high.shape != (width,):
        raise LaminarError(f"{metadata}: action_space has shape {low.shape}, the actions are {width} wide")
    if np.isfinite(low).all() and np.isfinite(high).all():
        recording.action_low, recording.action_high = tuple(low.tolist()), tuple(high.tolist())
