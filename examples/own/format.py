"""A format of one's own: one table of comma-separated values, as a logger on a robot may write it.

The first line names the columns: `episode`, the observation `o.NAME`, the action `a.NAME`, and maybe `reward` and
`terminated` (0 or 1, what counts is an episode's last row). Every further line is one step.

    episode,o.x,o.y,a.dx,a.dy,reward,terminated
    0,0.12,0.50,0.1,0.0,0,0

    python examples/own/format.py inspect log.csv
    python examples/own/format.py train policy=flow data.path=log.csv out=runs/log
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import laminar
from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.recording import Recording
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError, nearest

NAME = "csv"  # in place of the file's name
Array = NDArray[Any]


def sniff(path: Path) -> bool:
    """Look inside, and raise nothing: files of all formats come by here."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8) == b"episode,"


def read(path: Path) -> Episodes:
    """Read a table, one observation "observation" of all its `o.` columns.

    Raises:
        LaminarError: a column is missing or unknown, a row has another length, or a value is no finite number.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        names = file.readline().strip().split(",")
        values = _numbers(path, file, len(names))
    known = [name for name in names if name.startswith(("o.", "a.")) or name in ("episode", "reward", "terminated")]
    for name in names:
        if name not in known or names.count(name) > 1:
            hint = nearest(name, ("reward", "terminated")) or "; observations begin with o. and actions with a."
            raise LaminarError(f"{path}: column '{name}' is unknown or there twice{hint}")
    seen, done = ([name for name in names if name.startswith(prefix)] for prefix in ("o.", "a."))
    if not seen or not done:
        raise LaminarError(f"{path}: needs columns o.NAME and a.NAME, it has {', '.join(names)}")
    column = dict(zip(names, values.T, strict=True))
    for name, of_steps in column.items():
        if not np.isfinite(of_steps).all():
            row = int(np.flatnonzero(~np.isfinite(of_steps))[0])
            raise LaminarError(f"{path}: column '{name}' is not finite, first in line {row + 2}; repair or remove it")
    ends = np.flatnonzero(np.diff(column["episode"], append=np.inf)) + 1
    if len(np.unique(column["episode"])) < len(ends):
        raise LaminarError(f"{path}: the rows of an episode do not stand together; sort them by episode and time")
    zeros = np.zeros(len(values), np.float32)
    recording = Recording(
        path,
        observation={"observation": _rows(column, seen)},
        final_observation={},  # not in the file: the last row of an episode that did not terminate stands for it
        action=_rows(column, done),
        reward=column.get("reward", zeros),
        terminated=column.get("terminated", zeros)[ends - 1] > 0,
        ends=ends,
        spec=Spec({"observation": _feature(seen)}, _feature(done)),
        has_reward="reward" in column,
    )
    if "reward" not in column:
        recording.remarks.append("no column 'reward': rewards are 0")
    return recording.episodes()


def _numbers(path: Path, file: Any, width: int) -> Array:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an empty table, which is told below
            values = np.loadtxt(file, delimiter=",", ndmin=2)
    except ValueError as error:
        raise LaminarError(f"{path}: not a table of numbers ({error}); repair or remove that row") from error
    if not len(values) or values.shape[1] != width:
        raise LaminarError(f"{path}: {width} columns have a name, and there are {values.shape} rows and columns")
    return values


def _rows(column: dict[str, Array], names: list[str]) -> Array:
    return np.stack([column[name] for name in names], axis=1).astype(np.float32)


def _feature(names: list[str]) -> Feature:
    return Feature((len(names),), names=tuple(name[2:] for name in names))


if __name__ == "__main__":
    laminar.register("format", sys.modules[__name__])
    sys.exit(main(sys.argv[1:]))
