"""robomimic HDF5: `data/demo_<i>/{obs/<key>, next_obs/<key>, actions, rewards, dones, states}`.

Layout after robomimic 0.3 (Mandlekar et al. 2021, arXiv:2108.03298). A file with one such `data` group a task
(`<task>/data/demo_<i>`) is read as all tasks one after the other, the task's number in `infos["task"]`. The attribute
`num_samples` says how many rows of a demonstration are real; `mask/<name>` lists the demonstrations that
`data.filter=<name>` chooses. Rewards and dones are optional (MimicGen writes none), and so is all that describes the
simulator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError, nearest
from ..columns import as_actions, as_column, check_rows
from ..episodes import Episodes
from ..hdf5.file import Group, Kept, has_signature, open_hdf5
from ..hdf5.kept import read_pictures_of
from ..pictures import is_plain
from ..recording import Recording, jumps
from ..selection import EVERYTHING, Selection

Array = NDArray[Any]
SELECTS = ("filter",)
_PREFIX = "demo_"
_COLUMNS = ("rewards", "dones", "success")


@dataclass(frozen=True)
class _Demo:
    """One demonstration: "obs/<key>", "next_obs/<key>", "actions", "rewards", "dones", "success", and its states."""

    name: str
    arrays: dict[str, Array]
    states: Array | None
    cut: int  # rows of padding that were cut off
    pictures: dict[str, Kept]  # "obs/<key>", "next_obs/<key>": too many to be held in memory

    def __len__(self) -> int:
        return len(self.arrays["actions"])


def sniff(path: Path) -> bool:
    """Tell whether the file has demonstrations below `data`, at the top or one group a task."""
    if not path.is_file() or not has_signature(path):
        return False
    with open_hdf5(path) as file:
        return bool(_tasks(file))


def read(path: Path, selection: Selection = EVERYTHING) -> Episodes:
    """Read a robomimic file.

    Args:
        path: the HDF5 file.
        selection: `filter` names a list below `mask/`.

    Raises:
        LaminarError: a missing key, unequal lengths, demonstrations with different keys, non-finite values, counts or
            next observations that contradict the arrays.
    """
    remarks: list[str] = []
    with open_hdf5(path) as file:
        tasks = _tasks(file)
        chosen = _chosen(file, tasks, selection.filter, remarks)
        demos = {task: _read_demos(group, chosen[task]) for task, group in tasks.items()}
        arguments = [group.attribute("env_args") for group in tasks.values()]
        together = [demo for group in demos.values() for demo in group]
        _check_same(together, path)
        recording = _join(together, path, remarks)
        pictures, final = read_pictures_of(
            [(demo.name, len(demo), demo.pictures) for demo in together], path, selection.filter, remarks
        )
        recording.observation = dict(sorted((recording.observation | pictures).items()))
        recording.final_observation |= final
        remarks += file.account.unread()
    if len(tasks) > 1:
        counts = [sum(len(demo) for demo in group) for group in demos.values()]
        recording.infos["task"] = np.repeat(np.arange(len(tasks)), counts)
        remarks.append(f"tasks in infos/task: {', '.join(f'{i} {task}' for i, task in enumerate(tasks))}")
    recording.rate_hz = _rate(arguments, remarks)
    recording.assume_unit_limits("robomimic")
    return recording.episodes()


def _tasks(file: Group) -> dict[str, Group]:
    """Return task name -> group that holds the demonstrations ("" when there is one at the top)."""
    if _has_demos(file):
        return {"": file.group("data")}
    inside = {key: file.group(key) for key in file.names() if file.has_group(key)}
    return {key: group.group("data") for key, group in inside.items() if _has_demos(group)}


def _has_demos(group: Group) -> bool:
    return group.has_group("data") and group.group("data").has_numbered(_PREFIX)


def _chosen(file: Group, tasks: Mapping[str, Group], wanted: str | None, remarks: list[str]) -> dict[str, list[str]]:
    """Return task -> names of the demonstrations to read, in the order of their numbers."""
    found = {task: group.numbered(_PREFIX) for task, group in tasks.items()}
    masks = file.group("mask").names() if file.has_group("mask") and "" in found else []
    listed = {mask: sorted(set(file.texts(f"mask/{mask}"))) for mask in masks}
    unknown = {mask: [name for name in names if name not in found[""]] for mask, names in listed.items()}
    for mask, names in unknown.items():
        if names and mask != wanted:
            remarks.append(
                f"'mask/{mask}' lists {len(names)} demonstrations that are not in the file, first {names[0]}"
            )
    if wanted is None:
        if masks:
            counts = ", ".join(f"{mask} ({len(listed[mask])})" for mask in masks)
            remarks.append(f"all demonstrations are read; data.filter=NAME chooses those of a list: {counts}")
        return found
    if wanted not in listed:
        raise LaminarError(
            f"{file.path}: data.filter={wanted} is none of its lists {[f'mask/{mask}' for mask in masks]}"
            f"{nearest(wanted, masks)}"
        )
    if not listed[wanted]:
        raise LaminarError(f"{file.path}: 'mask/{wanted}' is empty; choose another data.filter")
    if unknown[wanted]:
        name = unknown[wanted][0]
        raise LaminarError(
            f"{file.path}: 'mask/{wanted}' lists '{name}', and there is no data/{name}; correct the list"
        )
    chosen = [name for name in found[""] if name in listed[wanted]]
    for name in set(found[""]) - set(chosen):
        file.account.leave_out(tasks[""].where(name))
    remarks.append(f"data.filter={wanted}: {len(chosen)} of {len(found[''])} demonstrations")
    return {"": chosen}


def _read_demos(group: Group, names: Sequence[str]) -> list[_Demo]:
    demos = [_read_demo(group.group(name)) for name in names]
    total, steps = group.count("total"), sum(map(len, demos))
    if total is not None and total != steps and len(names) == len(group.numbered(_PREFIX)):
        group.account.note(
            f"attribute 'total' of '{group.name}' says {total} steps, and its demonstrations have {steps}, which counts"
        )
    return demos


def _read_demo(group: Group) -> _Demo:
    path, name = group.path, group.name
    if not group.has_group("obs"):
        raise LaminarError(f"{path}: '{name}' has no group 'obs'; extract observations from the states first")
    arrays = {"actions": as_actions(group.array("actions"), f"{name}/actions", path)}
    for key in _COLUMNS:
        if key in group:
            arrays[key] = as_column(group.array(key, sparse=True), f"{name}/{key}", path)
    steps = check_rows({f"{name}/{key}": value for key, value in arrays.items()}, path)
    if steps == 0:
        raise LaminarError(f"{path}: '{name}' has no steps; remove it from the file")
    real = _real_rows(group, arrays, steps)
    some = None if real == steps else real  # of pictures padding cannot even be decoded
    pictures: dict[str, Kept] = {}
    for key in ("obs", "next_obs"):
        if key in group:
            kept = group.kept(key, is_plain)
            pictures |= {f"{key}/{name}": value for name, value in kept.items()}
            arrays |= {f"{key}/{name}": value for name, value in group.observations(key, some, kept).items()}
    arrays = {key: value[:real] for key, value in arrays.items()} if some else arrays
    check_rows({f"{name}/{key}": value for key, value in arrays.items()}, path)
    _check_continues(arrays, name, path)
    states = group.array("states") if "states" in group and not group.has_group("states") else None
    if states is not None and states.ndim and len(states) == steps:
        states = states[:real]
    for key, value in pictures.items():
        if value.shape[0] < real or (real == steps and value.shape[0] > real):
            raise LaminarError(f"{path}: '{name}/{key}' has {value.shape[0]} rows but '{name}/actions' has {steps}")
    return _Demo(name, arrays, states, steps - real, pictures)


def _real_rows(group: Group, arrays: Mapping[str, Array], steps: int) -> int:
    """Return how many rows are no padding, by the attribute `num_samples`."""
    real = group.count("num_samples")
    if real is None or real == steps:
        return steps
    where = f"{group.path}: attribute 'num_samples' of '{group.name}' says {real}, but its arrays have {steps} rows"
    if not 0 < real < steps:
        raise LaminarError(f"{where}; correct the wrong one of the two")
    moving = [key for key, value in arrays.items() if not _is_padding(value[real:])]
    if moving:
        raise LaminarError(
            f"{where}, of which those of '{moving[0]}' from {real} on are no padding (zeros, NaN or one row over and "
            "over); correct num_samples, or cut the arrays"
        )
    return real


def _is_padding(beyond: Array) -> bool:
    """Tell whether rows (N, ...) are all the same, NaN for example."""
    return bool(((beyond == beyond[0]) | (np.isnan(beyond) & np.isnan(beyond[0]))).all())


def _check_continues(arrays: Mapping[str, Array], name: str, path: Path) -> None:
    seen, following = _below("obs/", arrays), _below("next_obs/", arrays)
    for key, value in following.items():
        if key not in seen or value.shape != seen[key].shape:
            shape = seen[key].shape if key in seen else "missing"
            raise LaminarError(f"{path}: '{name}/next_obs/{key}' has shape {value.shape}, in obs it is {shape}")
        rows = np.flatnonzero(jumps(seen, {key: value}))
        if len(rows):
            raise LaminarError(
                f"{path}: '{name}/next_obs/{key}' is not what the next row of 'obs' begins with in {len(rows)} of "
                f"{len(value)} rows, first in row {rows[0]}; correct or remove next_obs"
            )


def _below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _check_same(demos: Sequence[_Demo], path: Path) -> None:
    expected = {key: value.shape[1:] for key, value in (demos[0].arrays | demos[0].pictures).items()}
    for demo in demos:
        got = {key: value.shape[1:] for key, value in (demo.arrays | demo.pictures).items()}
        if got != expected:
            key = next(key for key in [*expected, *got] if got.get(key) != expected.get(key))
            shapes = f"{got.get(key, 'missing')}, in the first demonstration {expected.get(key, 'missing')}"
            raise LaminarError(f"{path}: '{demo.name}/{key}' has shape {shapes} a step")


def _join(demos: Sequence[_Demo], path: Path, remarks: list[str]) -> Recording:
    rows = {key: np.concatenate([demo.arrays[key] for demo in demos]) for key in demos[0].arrays}
    ends = np.cumsum([len(demo) for demo in demos])
    terminated = np.zeros(len(ends), np.bool_)
    if "dones" in rows:
        terminated = rows["dones"][ends - 1].astype(np.bool_)
    has_reward = "rewards" in rows
    recording = Recording(
        path,
        _below("obs/", rows),
        {key: value[ends - 1] for key, value in _below("next_obs/", rows).items()},
        rows["actions"],
        rows["rewards"] if has_reward else np.zeros(len(rows["actions"]), np.float32),
        terminated,
        ends,
        has_reward=has_reward,
        remarks=remarks,
    )
    _remark(demos, recording)
    _add_states(demos, recording)
    _add_success(demos, recording)
    return recording


def _remark(demos: Sequence[_Demo], recording: Recording) -> None:
    remarks, arrays = recording.remarks, demos[0].arrays
    if not recording.has_reward:
        remarks.append("no 'rewards': good for cloning, not for methods that learn from rewards")
    if "dones" not in arrays:
        remarks.append("no 'dones': no demonstration terminates")
    elif any(demo.arrays["dones"][:-1].any() for demo in demos):
        remarks.append("'dones' is raised before the last step, where robomimic marks success: only the last one ends")
    cut = [demo.cut for demo in demos if demo.cut]
    if cut:
        remarks.append(
            f"{sum(cut)} rows of {len(cut)} demonstrations are padding beyond their 'num_samples' and are cut"
        )


def _add_states(demos: Sequence[_Demo], recording: Recording) -> None:
    """Keep the simulator's states where every demonstration has one a step, all of one width."""
    states = [demo.states for demo in demos]
    if all(value is None for value in states):
        return
    fitting = [
        value for value, demo in zip(states, demos, strict=True) if value is not None and _one_a_step(value, demo)
    ]
    if len(fitting) == len(demos) and len({value.shape[1:] for value in fitting}) == 1:
        recording.infos["states"] = np.concatenate(fitting)
    else:
        recording.remarks.append("'states' are not one row a step of one width in every demonstration and are left out")


def _one_a_step(states: Array, demo: _Demo) -> bool:
    return states.ndim > 0 and len(states) == len(demo)


def _add_success(demos: Sequence[_Demo], recording: Recording) -> None:
    if "success" in demos[0].arrays:
        recording.success = np.array([bool(demo.arrays["success"].any()) for demo in demos])
        recording.remarks.append("success: 'success' raised at any step")
    elif recording.has_reward and np.isin(recording.reward, (0.0, 1.0)).all():
        recording.success = np.array([bool(demo.arrays["rewards"].any()) for demo in demos])
        recording.remarks.append("success: the sparse reward was 1 at any step")


def _rate(arguments: Sequence[Any], remarks: list[str]) -> float | None:
    """Return the control rate in Hz that all tasks share, None when unknown or different."""
    rates: set[float | None] = set()
    for text in arguments:
        try:
            found = json.loads(text)["env_kwargs"]["control_freq"] if text is not None else None
            rates.add(None if found is None else float(found))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            rates.add(None)
            if not isinstance(error, KeyError):
                remarks.append(
                    f"attribute 'env_args' is not as robomimic writes it ({error!r}): no control rate is known"
                )
    rate = rates.pop() if len(rates) == 1 else None
    return rate if rate is not None and 0 < rate < float("inf") else None
