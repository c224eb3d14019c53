"""robomimic HDF5: `data/demo_<i>/{obs/<key>, next_obs/<key>, actions, rewards, dones, states}`.

Layout after robomimic 0.3 (Mandlekar et al. 2021, arXiv:2108.03298). A file with one such `data` group a task
(`<task>/data/demo_<i>`) is read as all tasks one after the other, the task's number in `infos["task"]`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .. import hdf5
from ..episodes import Episodes
from ..recording import Recording

Array = NDArray[Any]
_PREFIX = "demo_"


def sniff(path: Path) -> bool:
    """Tell whether the file has demonstrations below `data`, at the top or one group a task."""
    if not path.is_file() or not hdf5.has_signature(path):
        return False
    with hdf5.open_hdf5(path) as file:
        return bool(_tasks(file))


def read(path: Path) -> Episodes:
    """Read a robomimic file.

    Raises:
        LaminarError: a missing key, unequal lengths, demonstrations with different keys, non-finite values.
    """
    with hdf5.open_hdf5(path) as file:
        tasks = _tasks(file)
        demos: list[dict[str, Array]] = []
        for number, group in enumerate(tasks.values()):
            for name in hdf5.numbered_groups(group, _PREFIX):
                demo = _read_demo(group[name], path)
                demos.append(demo | {"task": np.full(len(demo["actions"]), number)} if len(tasks) > 1 else demo)
                _check_same(demos[0], demos[-1], group[name].name, path)
        arguments = [str(group.attrs.get("env_args", "{}")) for group in tasks.values()]
    recording = _join(demos, path)
    if len(tasks) > 1:
        recording.remarks.append(f"tasks in infos/task: {', '.join(f'{i} {task}' for i, task in enumerate(tasks))}")
    recording.rate_hz = _rate(arguments, path)
    recording.assume_unit_limits("robomimic")
    return recording.episodes()


def _tasks(file: Any) -> dict[str, Any]:
    """Return task name -> group that holds the demonstrations ("" when there is one at the top)."""
    if _has_demos(file):
        return {"": file["data"]}
    return {key: file[key]["data"] for key in hdf5.names(file) if hdf5.is_group(file[key]) and _has_demos(file[key])}


def _has_demos(group: Any) -> bool:
    return "data" in group and hdf5.is_group(group["data"]) and bool(hdf5.numbered_groups(group["data"], _PREFIX))


def _read_demo(group: Any, path: Path) -> dict[str, Array]:
    """Return "obs/<key>", "next_obs/<key>", "actions", "rewards", "dones", and "states", "success" if any."""
    if "obs" not in group or not hdf5.is_group(group["obs"]):
        raise LaminarError(f"{path}: '{group.name}' has no group 'obs'; extract observations from the states first")
    demo = {key: hdf5.read_array(group, key, path) for key in ("actions", "rewards", "dones")}
    demo |= {key: hdf5.read_array(group, key, path) for key in ("states", "success") if key in group}
    for key in ("obs", "next_obs"):
        if key in group:
            observations = hdf5.read_observations(group, key, path)
            demo |= {f"{key}/{name}": value for name, value in observations.items()}
    demo["actions"] = hdf5.as_actions(demo["actions"], f"{group.name}/actions", path)
    for key in ("rewards", "dones", "success"):
        if key in demo:
            demo[key] = hdf5.as_column(demo[key], f"{group.name}/{key}", path)
    if hdf5.check_rows({f"{group.name}/{key}": value for key, value in demo.items()}, path) == 0:
        raise LaminarError(f"{path}: '{group.name}' has no steps; remove it from the file")
    return demo


def _check_same(first: Mapping[str, Array], demo: Mapping[str, Array], name: str, path: Path) -> None:
    expected = {key: value.shape[1:] for key, value in first.items()}
    got = {key: value.shape[1:] for key, value in demo.items()}
    if got != expected:
        key = next(key for key in [*expected, *got] if got.get(key) != expected.get(key))
        shapes = f"{got.get(key, 'missing')}, in the first demonstration {expected.get(key, 'missing')}"
        raise LaminarError(f"{path}: '{name}/{key}' has shape {shapes} a step")


def _join(demos: list[dict[str, Array]], path: Path) -> Recording:
    rows = {key: np.concatenate([demo[key] for demo in demos]) for key in demos[0]}
    ends = np.cumsum([len(demo["actions"]) for demo in demos])
    observation = {key.removeprefix("obs/"): value for key, value in rows.items() if key.startswith("obs/")}
    following = {key.removeprefix("next_obs/"): value for key, value in rows.items() if key.startswith("next_obs/")}
    recording = Recording(
        path,
        observation,
        {key: value[ends - 1] for key, value in following.items() if key in observation},
        rows["actions"],
        rows["rewards"],
        rows["dones"][ends - 1].astype(np.bool_),
        ends,
        infos={key: rows[key] for key in ("states", "task") if key in rows},
    )
    _add_success(recording, demos)
    return recording


def _add_success(recording: Recording, demos: list[dict[str, Array]]) -> None:
    if "success" in demos[0]:
        recording.success = np.array([bool(demo["success"].any()) for demo in demos])
        recording.remarks.append("success: 'success' raised at any step")
    elif np.isin(recording.reward, (0.0, 1.0)).all():
        recording.success = np.array([bool(demo["rewards"].any()) for demo in demos])
        recording.remarks.append("success: the sparse reward was 1 at any step")


def _rate(arguments: list[str], path: Path) -> float | None:
    """Return the control rate in Hz that all tasks share, None when unknown or different."""
    try:
        rates = {json.loads(text).get("env_kwargs", {}).get("control_freq") for text in arguments}
    except (ValueError, AttributeError) as error:
        raise LaminarError(f"{path}: attribute 'env_args' is not JSON ({error})") from error
    rate = rates.pop() if len(rates) == 1 else None
    return None if rate is None else float(rate)
