"""What a run wrote down: its data and its log, found from the folder of one of its policies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import LaminarError
from ...policies.storage import read_object, rebuilding

METRICS = "metrics.jsonl"
DIVERGED = "diverged.json"
"""Written into a run that stopped at a number that is not finite, {"told": which}; gone when the run goes on."""
ACTION_ERROR = "validation/action_error"
"""Entry of metrics.jsonl: mean absolute error on held-out episodes, as a share of the action's range."""


def run_around(policy: str | Path, files: Sequence[str] = ("run.json",)) -> Path | None:
    """Return the run that a policy's folder is, or lies in as a checkpoint or the best one; None where there is none.

    Args:
        policy: folder.
        files: what a run is known by, any of them.
    """
    start = Path(policy).absolute()
    places = (start, *list(start.parents)[:2])
    return next((place for place in places if any((place / name).is_file() for name in files)), None)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics.jsonl; a last line cut by a kill is dropped.

    Raises:
        LaminarError: another line is not JSON.
    """
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise LaminarError(f"{path}: line {number} is not JSON ({error}); repair or delete it") from error
    return rows


@dataclass(frozen=True)
class RunRecord:
    """The run that a policy lies in.

    Attributes:
        folder: of the run.
        data: its settings of that name.
        fingerprint: of its data; None for one that had none, or began with an earlier version.
        held_out: numbers of the episodes that it learned nothing from.
        starts: policies that it began with or was taught by.
    """

    folder: Path
    data: Mapping[str, Any]
    fingerprint: Mapping[str, Any] | None
    held_out: list[int]
    starts: list[str]

    @classmethod
    def of(cls, policy: str | Path) -> RunRecord | None:
        """Read the record of a run, one of its checkpoints or its best policy; None for a policy that lies in none.

        Raises:
            LaminarError: a damaged run.json.
        """
        folder = run_around(policy)
        if folder is None:
            return None
        with rebuilding(folder / "run.json"):
            stored = read_object(folder / "run.json")
            record = stored.get("record", {})
            numbers = [int(number) for number in record.get("held_out", [])]
            init = stored.get("init")  # of old a path alone
            starts = [init.get("path") if isinstance(init, dict) else init, stored["method"].get("teacher")]
            return cls(
                folder, dict(stored["data"]), record.get("fingerprint"), numbers, [str(one) for one in starts if one]
            )


def held_out_line(run: Path) -> str:
    """Return what a run measured on its held-out episodes, for a report; "" where it held out none."""
    rows = [row for row in read_rows(run / METRICS) if ACTION_ERROR in row]
    if not rows:
        return ""
    last, best = rows[-1], min(rows, key=lambda row: row[ACTION_ERROR])
    least = "" if best is last else f", the least {best[ACTION_ERROR]:.4g} after {best['step']}"
    return (
        f"on held-out episodes: mean absolute action error {last[ACTION_ERROR]:.4g} of the action's range after "
        f"{last['step']} updates{least}; laminar replay shows more"
    )
