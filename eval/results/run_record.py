"""What a run wrote down about its data, found from the folder of one of its policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...policies.storage import read_object, rebuilding

ACTION_ERROR = "validation/action_error"
"""Entry of metrics.jsonl: mean absolute error on held-out episodes, as a share of the action's range."""


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
        start = Path(policy).absolute()
        places = (start, *list(start.parents)[:2])
        folder = next((place for place in places if (place / "run.json").is_file()), None)
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
    file = run / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []  # a kill can cut the last one
    rows = [row for row in map(json.loads, lines) if ACTION_ERROR in row]
    if not rows:
        return ""
    last, best = rows[-1], min(rows, key=lambda row: row[ACTION_ERROR])
    least = "" if best is last else f", the least {best[ACTION_ERROR]:.4g} after {best['step']}"
    return (
        f"on held-out episodes: mean absolute action error {last[ACTION_ERROR]:.4g} of the action's range after "
        f"{last['step']} updates{least}; laminar replay shows more"
    )
