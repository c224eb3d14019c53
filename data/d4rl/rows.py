"""The rows of a D4RL file, in the order of their episodes, and what the file says of ends held against itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_actions, as_column, as_flags, check_rows
from ..hdf5.file import Group
from ..recording import jumps

Array = NDArray[Any]
FLAGS = ("terminals", "timeouts", "masks", "dones", "dones_float")
_MOST_TOGETHER = 1024  # environments that are stepped together


@dataclass
class Rows:
    """The file's arrays of N rows; `following` and `infos` are empty and the others None where it has none."""

    observation: dict[str, Array]
    following: dict[str, Array]
    action: Array
    reward: Array | None
    terminals: Array
    timeouts: Array | None
    infos: dict[str, Array]

    @property
    def stops(self) -> Array:
        """(N,) bool: a terminal, or a flagged timeout."""
        return self.terminals if self.timeouts is None else self.terminals | self.timeouts

    def take(self, order: Array) -> Rows:
        """Return the rows in another order."""
        return Rows(
            observation={key: value[order] for key, value in self.observation.items()},
            following={key: value[order] for key, value in self.following.items()},
            action=self.action[order],
            reward=None if self.reward is None else self.reward[order],
            terminals=self.terminals[order],
            timeouts=None if self.timeouts is None else self.timeouts[order],
            infos={key: value[order] for key, value in self.infos.items()},
        )


def read_rows(file: Group, remarks: list[str]) -> Rows:
    """Read all arrays of one row a step.

    Raises:
        LaminarError: a missing key, unequal lengths, no rows, or two statements about ends that differ.
    """
    path, written = file.path, _written(file, remarks)

    def read(key: str) -> Array | None:
        return file.array(key, written) if key in file else None

    observation = file.observations("observations", written)
    following = file.observations("next_observations", written) if "next_observations" in file else {}
    action = as_actions(file.array("actions", written), "actions", path)
    columns = {key: value for key in ("rewards", *FLAGS) if (value := read(key)) is not None}
    columns = {key: as_column(value, key, path) for key, value in columns.items()}
    named = {f"observations/{key}": value for key, value in observation.items()} | {"actions": action} | columns
    steps = check_rows(named, path)
    if steps == 0:
        raise LaminarError(f"{path}: no episodes, its arrays have 0 rows; record some first")
    for key, value in following.items():
        if key not in observation or value.shape != observation[key].shape:
            shape = observation[key].shape if key in observation else "missing"
            shapes = f"shape {value.shape}, in observations it is {shape}"
            raise LaminarError(f"{path}: '{key}' in next_observations has {shapes}")
    flags = {key: as_flags(columns[key], key, path) for key in FLAGS if key in columns}
    terminals = _terminals(flags, steps, path, remarks)
    if "rewards" not in columns:
        remarks.append("no 'rewards': good for cloning, not for methods that learn from rewards")
    rows = Rows(observation, following, action, columns.get("rewards"), terminals, flags.get("timeouts"), {})
    rows.infos = _infos(file, steps, written, remarks)
    _check_flags(flags, rows.stops, path)
    return rows


def _written(file: Group, remarks: list[str]) -> int | None:
    """Return how many rows there are where the recorder was killed."""
    columns = ("observations", "next_observations", "actions", "rewards", *FLAGS)
    lacking = file.unwritten([key for key in columns if key in file])
    if not lacking:
        return None
    first = min(lacking.values(), key=lambda unwritten: unwritten.first)
    if first.first == 0 or any(one.last < one.rows - 1 for one in lacking.values()):
        return None  # not the end of a recording; reading the array will refuse it
    names = ", ".join(f"'{name}'" for name in lacking)
    remarks.append(
        f"{first.rows - first.first} of {first.rows} rows were never written (rows {first.first} to {first.rows - 1} "
        f"of {names}; the recorder was stopped): the first {first.first} are read"
    )
    return first.first


def _terminals(flags: dict[str, Array], steps: int, path: Path, remarks: list[str]) -> Array:
    """Return (N,) bool; where the file has no `terminals`, `masks` say it as well, and else no task ends."""
    if "terminals" in flags:
        return flags["terminals"]
    if "masks" in flags:
        remarks.append("no 'terminals': a task terminates where 'masks' is 0")
        return ~flags["masks"]
    done = next((key for key in ("dones", "dones_float") if key in flags), None)
    if done is not None:
        timeouts = flags.get("timeouts", np.zeros(steps, np.bool_))
        also = " and 'timeouts' is 0" if "timeouts" in flags else ""
        remarks.append(f"no 'terminals': a task terminates where '{done}' is 1{also}")
        return flags[done] & ~timeouts
    remarks.append("no 'terminals': no task terminates")
    return np.zeros(steps, np.bool_)


def _check_flags(flags: dict[str, Array], stops: Array, path: Path) -> None:
    """Raise where two statements about the ends of episodes or tasks contradict each other."""
    terminals = flags.get("terminals", ~flags["masks"] if "masks" in flags else None)
    if terminals is None:
        return
    claims = [("masks", ~flags["masks"], (terminals,))] if "masks" in flags else []
    claims += [(key, flags[key], (terminals, stops)) for key in ("dones", "dones_float") if key in flags]
    for key, claimed, allowed in claims:
        if not any((claimed == one).all() for one in allowed):
            row = int(np.flatnonzero(claimed != allowed[0])[0])
            count = int(np.count_nonzero(claimed != allowed[0]))
            raise LaminarError(
                f"{path}: 'terminals' and '{key}' contradict each other in {count} rows, first in row {row}: terminals "
                f"is {int(terminals[row])} and {key} is {int(flags[key][row])}; remove the wrong one of the two"
            )


def taken_apart(rows: Rows, remarks: list[str]) -> Rows:
    """Return the rows in the order of their episodes.

    Those of environments that were stepped together come in turns, step 0 of all, then step 1 of all, and so on; the
    next observations tell how many there were.
    """
    if not rows.following:
        return rows
    gaps = np.flatnonzero(jumps(rows.observation, rows.following) & ~rows.stops)
    if not len(gaps) or gaps[0] > _MOST_TOGETHER:
        return rows
    for count in range(2, min(_MOST_TOGETHER, len(rows.action) // 2) + 1):
        if len(rows.action) % count == 0 and _continues(rows, int(gaps[0]), count):
            order = np.arange(len(rows.action)).reshape(-1, count).T.reshape(-1)
            turned = rows.take(order)
            within = (np.arange(len(order)) + 1) % (len(order) // count) != 0  # not the last row of an environment
            if not (jumps(turned.observation, turned.following) & ~turned.stops & within).any():
                remarks.append(f"the rows of {count} environments that were stepped together are taken apart")
                return turned
    return rows


def _continues(rows: Rows, row: int, count: int) -> bool:
    """Tell whether a row's next observation is what begins `count` rows later."""
    if row + count >= len(rows.action):
        return False
    pair = {key: np.stack([value[row], value[row]]) for key, value in rows.following.items()}
    there = {key: np.stack([value[row + count]] * 2) for key, value in rows.observation.items()}
    return not jumps(there, pair)[0]


def _infos(file: Group, steps: int, written: int | None, remarks: list[str]) -> dict[str, Array]:
    if "infos" not in file or not file.has_group("infos"):
        return {}
    lacking = {key: some for key, some in file.unwritten(["infos"]).items() if written is None or some.first < written}
    remarks += [f"'{key}': {some}; it is left out" for key, some in lacking.items()]
    arrays = file.arrays("infos", written, skip=[key.removeprefix("infos/") for key in lacking])
    odd = [key for key, value in arrays.items() if value.ndim == 0 or len(value) != steps]
    if odd:
        remarks.append(f"infos {odd} do not have one row a step and are left out")
    return {key: value for key, value in arrays.items() if key not in odd}
