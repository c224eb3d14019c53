"""D4RL HDF5: flat arrays over all steps (`observations actions rewards terminals`, usually `timeouts`).

Layout after D4RL (Fu et al. 2020, arXiv:2004.07219). Faults of its loaders and files are avoided: the observation
after a timeout is never taken from the next episode, nor that after a jump of AntMaze (its -v0 files end episodes
elsewhere than their `timeouts` say), and without `timeouts` an episode after a terminal is not cut one step early.
Kitchen has no `timeouts`: each of its demonstrations ends with a terminal, whether its tasks are done or not.
A second statement about ends is held against the first: `masks` (0 where the task terminated), `dones`, `dones_float`.
Where rows state a next observation that is not the next row's, an episode ends; a buffer of several environments that
were stepped together is taken apart first. Rewards are optional, and terminals beside another statement of ends.
Beyond D4RL: a group `observations/` is a dictionary observation, `metadata/spec` is the Spec as JSON and
`metadata/success` one flag an episode, `metadata/tasks` what it was to do in words; `write` adds them, `read` does
without.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_flags
from ..d4rl.rows import Rows, read_rows
from ..episodes import Episodes
from ..hdf5.file import Group, has_signature, open_hdf5
from ..recording import Recording, jumps, success_by_flag
from ..spec import Spec

Array = NDArray[Any]

# Steps after which D4RL's environments time out, by the beginning of the id or of the file's name; for files without
# `timeouts`. Kitchen's demonstrations may be longer than its environment's 280 steps, and a terminal ends each of them.
HORIZONS = {
    "halfcheetah": 1000,
    "hopper": 1000,
    "walker": 1000,
    "ant-": 1000,
    "antmaze-umaze": 700,
    "antmaze": 1000,
    "ant_maze_u": 700,
    "ant_": 1000,
    "pen-": 100,
    "door-": 200,
    "hammer-": 200,
    "relocate-": 200,
    "maze2d-open": 150,
    "maze2d-umaze": 150,  # -v0, as all of Maze2D here: -v1 has `timeouts`
    "maze2d-medium": 250,
    "maze2d-large": 600,
}
KITCHEN = ("kitchen", "mini_kitchen")
ANTMAZE = ("antmaze", "ant_maze")
ANT_STEP = 1.0  # m; at 5 m/s an ant gets half as far in a control step of 0.1 s
_BLOCK = 1 << 24  # bytes that are written at once
DOOR_HINGE, DOOR_OPEN = 28, 1.35  # observation index and angle in rad of the Adroit door's success


def sniff(path: Path) -> bool:
    """Tell whether the file has D4RL's flat arrays."""
    if not path.is_file() or not has_signature(path):
        return False
    with open_hdf5(path) as file:
        return len({"observations", "actions", "rewards", "terminals"} & set(file.names())) >= 2


def read(path: Path, max_episode_steps: int | None = None) -> Episodes:
    """Read a D4RL file.

    Args:
        path: the HDF5 file.
        max_episode_steps: time limit, only used when the file has neither `timeouts` nor `next_observations`.

    Raises:
        LaminarError: a missing key, unequal lengths, non-finite values, unknown episode ends, two statements about
            ends that differ, no episodes.
    """
    with open_hdf5(path) as file:
        env_id = file.text("metadata/env_id")
        remarks: list[str] = []
        name = (env_id or path.name).lower()
        rows = read_rows(file, remarks)
        stops = _stops(rows, name, remarks)
        if rows.timeouts is None and not rows.following:
            ends = _ends_by_count(stops, max_episode_steps or _horizon(path, env_id), remarks)
        else:
            ends = _ends(rows, stops, remarks)
        recording = Recording(
            path,
            rows.observation,
            {key: value[ends - 1] for key, value in rows.following.items()},
            rows.action,
            np.zeros(len(rows.action), np.float32) if rows.reward is None else rows.reward,
            rows.terminals[ends - 1],
            ends,
            has_reward=rows.reward is not None,
            infos=rows.infos,
            remarks=remarks,
        )
        _add_spec(recording, file.text("metadata/spec"))
        _add_success(recording, file, name)
        _add_tasks(recording, file)
        remarks += file.account.unread()
    return recording.episodes()


def _stops(rows: Rows, name: str, remarks: list[str]) -> Array:
    """Return (N,) bool: a terminal, or a flagged timeout, or in AntMaze a step that no ant can make."""
    stops = rows.stops
    if not name.startswith(ANTMAZE):
        return stops
    crowd = np.count_nonzero(rows.terminals[:-1] & rows.terminals[1:])
    if crowd:
        remarks.append(
            f"the recording goes on at the goal: {crowd} terminals follow a terminal, each an episode of one step"
        )
    place = rows.observation.get("observation")
    if rows.following or place is None or place.ndim != 2 or place.shape[1] < 2:
        return stops
    leaps = np.zeros_like(stops)
    leaps[:-1] = np.linalg.norm(np.diff(place[:, :2], axis=0), axis=1) > ANT_STEP
    leaps &= ~stops
    if leaps.any():
        remarks.append(
            f"the ant jumps more than {ANT_STEP:g} m after {np.count_nonzero(leaps)} rows without a flag, first after "
            f"row {np.flatnonzero(leaps)[0]}: an episode ends there"
        )
    return stops | leaps


def _ends(rows: Rows, stops: Array, remarks: list[str]) -> Array:
    unlike = jumps(rows.observation, rows.following) if rows.following else np.zeros_like(stops)
    if rows.timeouts is None:
        remarks.append("no 'timeouts': episodes end at terminals and where next_observations do not continue")
        return _close_last(stops | unlike, remarks)
    gaps = np.flatnonzero(unlike & ~stops)
    if len(gaps):
        remarks.append(
            f"next_observations are not what the next row begins with in {len(gaps)} rows inside episodes, first in "
            f"row {gaps[0]}: an episode ends there, truncated, with its own next observation"
        )
    return _close_last(stops | unlike, remarks)


def _ends_by_count(known: Array, horizon: int | None, remarks: list[str]) -> Array:
    """Count each episode from zero; D4RL counts from one after a terminal and so cuts the next one short."""
    if horizon is None:
        remarks.append("no 'timeouts': episodes end at terminals, as every demonstration of Kitchen does")
        return _close_last(known, remarks)
    remarks.append(f"no 'timeouts': episodes end at terminals and after {horizon} steps")
    stops = known.copy()
    begin = 0
    for end in [*(np.flatnonzero(known) + 1), len(known)]:
        stops[begin + horizon - 1 : end : horizon] = True
        begin = int(end)
    return _close_last(stops, remarks)


def _close_last(stops: Array, remarks: list[str]) -> Array:
    if not stops[-1]:
        remarks.append("the last episode is unfinished; it is kept as truncated")
    return np.flatnonzero(np.append(stops[:-1], True)) + 1


def _horizon(path: Path, env_id: str | None) -> int | None:
    """Return the steps of an episode, None where terminals alone end them."""
    file = path.name.lower()
    human = "human" in file or "demos" in file  # human demonstrations run past the environment's limit
    for name in () if human else ((env_id or "").lower(), file):
        if name.startswith(KITCHEN):
            return None
        for prefix, horizon in HORIZONS.items():
            if name.startswith(prefix):
                return horizon
    raise LaminarError(
        f"{path}: cannot tell where episodes end: there is neither 'timeouts' nor "
        "'next_observations', and the name is of no D4RL environment; add an array 'timeouts'"
    )


def _add_spec(recording: Recording, stored: str | None) -> None:
    if stored is None:
        recording.assume_unit_limits("D4RL")
        return
    try:
        recording.spec = Spec.from_json(json.loads(stored))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LaminarError(f"{recording.path}: 'metadata/spec' is not a spec ({error!r})") from error
    if set(recording.spec.observation) == set(recording.observation):  # HDF5 lists its names in alphabetical order
        recording.observation = {key: recording.observation[key] for key in recording.spec.observation}


def _add_success(recording: Recording, file: Group, name: str) -> None:
    if "metadata/success" in file:
        flags = as_flags(file.array("metadata/success"), "metadata/success", recording.path)
        if len(flags) != len(recording.ends):
            counts = f"{len(flags)} rows for {len(recording.ends)} episodes"
            raise LaminarError(f"{recording.path}: 'metadata/success' has {counts}")
        recording.success = flags
    elif "success" in recording.infos and recording.infos["success"].ndim == 1:
        recording.success = success_by_flag(recording.infos["success"], recording.ends)
        recording.remarks.append("success: infos/success raised at any step")
    elif name.startswith(("door", "adroithanddoor")):
        _add_door_success(recording)


def _add_tasks(recording: Recording, file: Group) -> None:
    tasks = file.texts("metadata/tasks")
    if tasks and len(tasks) != len(recording.ends):
        counts = f"{len(tasks)} rows for {len(recording.ends)} episodes"
        raise LaminarError(f"{recording.path}: 'metadata/tasks' has {counts}")
    recording.tasks = np.array(tasks) if tasks else None


def _add_door_success(recording: Recording) -> None:
    values = recording.observation.get("observation")
    if values is None or values.shape[1:] != (39,):
        return
    open_now = values[:, DOOR_HINGE] >= DOOR_OPEN
    if recording.final_observation:
        open_now[recording.ends - 1] |= recording.final_observation["observation"][:, DOOR_HINGE] >= DOOR_OPEN
    recording.success = success_by_flag(open_now, recording.ends)
    recording.remarks.append(f"success: door hinge (observation {DOOR_HINGE}) reached {DOOR_OPEN} rad")


def write(path: str | Path, episodes: Episodes, metadata: Mapping[str, str | float] | None = None) -> None:
    """Write episodes so that `read` returns the same; whole or not at all.

    Args:
        path: target; missing folders are made, an existing file is replaced at the end.
        episodes: what to write; `remarks` are not stored.
        metadata: further entries of `metadata/`, such as env_id or algorithm.

    Raises:
        LaminarError: the file cannot be written, for example on a full disk.
    """
    import h5py

    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(partial, "w") as file:
            for key, value in _columns(episodes).items():
                file.create_dataset(key, data=value, compression="gzip", compression_opts=1)
            _write_observations(file, episodes)
            for key, value in ({"spec": json.dumps(episodes.spec.to_json())} | dict(metadata or {})).items():
                file[f"metadata/{key}"] = value
            if episodes.success is not None:
                file["metadata/success"] = episodes.success
            if episodes.tasks is not None:
                file["metadata/tasks"] = [str(task) for task in episodes.tasks]
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise LaminarError(f"{target}: cannot be written ({reason}); nothing was replaced") from error
    finally:
        partial.unlink(missing_ok=True)


def _columns(episodes: Episodes) -> dict[str, Array]:
    timeouts = np.zeros(len(episodes), np.bool_)
    timeouts[episodes.ends - 1] = ~episodes.terminated[episodes.ends - 1]
    columns: dict[str, Array] = {"actions": episodes.action}
    if episodes.has_reward:
        columns["rewards"] = episodes.reward
    columns |= {"terminals": episodes.terminated, "timeouts": timeouts}
    return columns | {f"infos/{key}": value for key, value in episodes.infos.items()}


def _write_observations(file: Any, episodes: Episodes) -> None:
    """Write observations and next observations block by block: pictures may be more than memory holds."""
    flat = list(episodes.observation) == ["observation"]
    for key, value in episodes.observation.items():
        suffix, last = "" if flat else f"/{key}", np.asarray(episodes.final_observation[key])
        options = {"shape": value.shape, "dtype": value.dtype, "compression": "gzip", "compression_opts": 1}
        if value.ndim > 2:  # a picture a chunk, as they are read
            options["chunks"] = (1, *value.shape[1:])
        seen = file.create_dataset(f"observations{suffix}", **options)
        following = file.create_dataset(f"next_observations{suffix}", **options)
        rows = max(1, _BLOCK // max(1, int(np.prod(value.shape[1:])) * value.dtype.itemsize))
        for first in range(0, len(value), rows):
            block = np.asarray(value[first : first + rows + 1])  # with the one after
            count = min(rows, len(value) - first)
            after = np.concatenate([block[1:], last[-1:]])[:count]
            ending = np.flatnonzero((episodes.ends > first) & (episodes.ends <= first + count))
            after[episodes.ends[ending] - 1 - first] = last[ending]
            seen[first : first + count], following[first : first + count] = block[:count], after
