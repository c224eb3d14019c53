"""The rows of a D4RL file, in the order of their episodes, and what the file says of ends held against itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_actions, as_column, check_rows
from ..hdf5.file import Group
from ..recording import jumps
from .flags import FLAGS, ends_of

Array = NDArray[Any]
_MADE_UP = 2  # rows of zeros at the end that are taken for none
_FAR = 5.0  # times the usual move from row to row
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

    observation = file.observations("observations", written)
    following = file.observations("next_observations", written) if "next_observations" in file else {}
    action = as_actions(file.array("actions", written), "actions", path)
    columns = {key: file.array(key, written, sparse=True) for key in ("rewards", *FLAGS) if key in file}
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
    terminals, timeouts = ends_of({key: columns[key] for key in FLAGS if key in columns}, steps, path, remarks)
    if "rewards" not in columns:
        remarks.append("no 'rewards': good for cloning, not for methods that learn from rewards")
    rows = Rows(observation, following, action, columns.get("rewards"), terminals, timeouts, {})
    rows = _without_zeros(rows, remarks)
    rows.infos = {key: value[: len(rows.action)] for key, value in _infos(file, steps, written, remarks).items()}
    return _without_restarts(_taken_apart(rows, remarks), remarks)


def _without_zeros(rows: Rows, remarks: list[str]) -> Rows:
    """Cut rows off the end in which all is zero: an array in one piece reads so where its recorder was killed."""
    columns = [*rows.observation.values(), *rows.following.values(), rows.action]
    columns += [] if rows.reward is None else [rows.reward]
    steps = len(rows.action)
    if any(value[-1].any() for value in columns):
        return rows
    zero = np.logical_and.reduce([~value.reshape(steps, -1).any(axis=1) for value in columns])
    kept = int(np.flatnonzero(~zero)[-1]) + 1 if not zero.all() else steps
    if steps - kept < _MADE_UP:
        return rows
    remarks.append(f"the last {steps - kept} of {steps} rows are zero in every array, as if never written: cut off")
    return rows.take(np.arange(kept))


def _without_restarts(rows: Rows, remarks: list[str]) -> Rows:
    """Drop next observations that are the first ones of the next episode where time ran out.

    Environments that reset themselves give them, and they are far from where the episode was; a stream that goes on
    from goal to goal is not.
    """
    if not rows.following or rows.timeouts is None:
        return rows
    stops = np.flatnonzero(rows.timeouts[:-1] & ~rows.terminals[:-1])
    restarts = stops[~jumps(rows.observation, rows.following)[stops]]
    if len(restarts) < 2 or 2 * len(restarts) < len(stops):
        return rows
    inside = np.flatnonzero(~rows.stops)
    if not len(inside) or _moved(rows, restarts) < _FAR * _moved(
        rows, inside
    ):  # episodes of one step tell no usual one
        return rows
    remarks.append(
        f"at {len(restarts)} of {len(stops)} timeouts next_observations are the first observation of the next episode, "
        "as environments give it that reset themselves: they are left out"
    )
    return replace(rows, following={})


def _moved(rows: Rows, index: Array) -> float:
    """Return how far a row's next observation is from its own, in deviations, the median over at least one row."""
    total = np.zeros(len(index))
    for key, value in rows.following.items():
        here = rows.observation[key]
        scale = here.reshape(len(here), -1).std(axis=0, dtype=np.float64) + 1e-12
        gap = value[index].reshape(len(index), -1).astype(np.float64) - here[index].reshape(len(index), -1)
        total += np.abs(gap / scale).mean(axis=1)
    return float(np.median(total))


def _written(file: Group, remarks: list[str]) -> int | None:
    """Return how many rows there are where the recorder was killed."""
    lacking = file.unwritten([key for key in ("observations", "next_observations", "actions") if key in file])
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


def _taken_apart(rows: Rows, remarks: list[str]) -> Rows:
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
        if _continues(rows, int(gaps[0]), count):
            turn = np.arange(len(rows.action)) % count
            order = np.argsort(turn, kind="stable")
            turned = rows.take(order)
            within = np.append(np.diff(turn[order]) == 0, False)  # not the last row of an environment
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
