"""What a D4RL file says of ends: of tasks (`terminals`, `masks`) and of episodes (`timeouts`, `dones`, `dones_float`).

Files of other tools say it once more or in other words; a second statement is held against the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_flags

Array = NDArray[Any]
FLAGS = ("terminals", "timeouts", "masks", "dones", "dones_float")
_DONES = ("dones", "dones_float")


def ends_of(columns: Mapping[str, Array], steps: int, path: Path, remarks: list[str]) -> tuple[Array, Array | None]:
    """Return (N,) bool where a task terminates, and (N,) bool where time runs out, None where the file does not tell.

    Args:
        columns: the arrays of the file that are called as one of `FLAGS`, (N,).
        steps: N.
        path: the file, for messages.
        remarks: takes what had to be decided.

    Raises:
        LaminarError: an array holds other values than 0 and 1, or two of them contradict each other.
    """
    flags = {key: as_flags(value, key, path) for key, value in columns.items()}
    terminals, said_by = _terminals(flags, steps, remarks)
    if said_by == "terminals" and "masks" in flags:
        _refuse_unlike("terminals", terminals, "masks", ~flags["masks"], flags["masks"], path)
    timeouts = flags.get("timeouts")
    for key in _DONES:
        if key not in flags or said_by == key:
            continue
        done = flags[key]
        if timeouts is not None:
            if not (done == terminals).all():
                _refuse_unlike(f"{said_by} and timeouts", terminals | timeouts, key, done, done, path)
        elif (done | ~terminals).all():
            remarks.append(
                f"'{key}' ends an episode, and where '{said_by}' does not terminate the task it is truncated"
            )
            timeouts = done & ~terminals
        else:
            _refuse_unlike(said_by, terminals, key, done, done, path)
    return terminals, timeouts


def _terminals(flags: Mapping[str, Array], steps: int, remarks: list[str]) -> tuple[Array, str]:
    """Return (N,) bool where a task terminates, and which array says so."""
    if "terminals" in flags:
        return flags["terminals"], "terminals"
    if "masks" in flags:
        remarks.append("no 'terminals': a task terminates where 'masks' is 0")
        return ~flags["masks"], "masks"
    if "dones" in flags:
        also = " and 'timeouts' is 0" if "timeouts" in flags else ""
        remarks.append(f"no 'terminals': a task terminates where 'dones' is 1{also}")
        return flags["dones"] & ~flags.get("timeouts", np.zeros(steps, np.bool_)), "dones"
    remarks.append("no 'terminals': no task terminates")
    return np.zeros(steps, np.bool_), "terminals"


def _refuse_unlike(first: str, wanted: Array, second: str, claimed: Array, shown: Array, path: Path) -> None:
    """Raise where two statements differ, naming both and the first row."""
    unlike = np.flatnonzero(wanted != claimed)
    if len(unlike):
        row = int(unlike[0])
        raise LaminarError(
            f"{path}: '{first}' and '{second}' contradict each other in {len(unlike)} rows, first in row {row}: "
            f"{first} is {int(wanted[row])} and {second} is {int(shown[row])}; remove the wrong one of the two"
        )
