"""How far the runs of a sweep are, read from their folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...policies.storage import checkpoints, read_object, write_json
from ..run.checkpoint import step_of

EARLY = "stopped.json"
"""In the folder of a run that a rule ended early, {"told": why}."""
_TAIL = 8192  # bytes that surely have the last row of a log


def seeds_of(folder: Path) -> list[Path]:
    """Return the folder of a run, or those of its seeds where it trains several together."""
    return [folder] if (folder / "run.json").exists() else sorted(one.parent for one in folder.glob("seed_*/run.json"))


def is_trained(folder: Path) -> bool:
    """Tell whether a run has its last checkpoint, which is written when all else is done."""
    runs = seeds_of(folder)
    return bool(runs) and all(_saved(run) >= int(read_object(run / "run.json").get("steps") or 1) for run in runs)


def is_measured(folder: Path) -> bool:
    """Tell whether a trained run was evaluated, and not in part."""
    results = [run / "eval" / "eval.json" for run in seeds_of(folder)]
    return all(one.is_file() and '"interrupted": {' not in one.read_text(encoding="utf-8") for one in results)


def _saved(run: Path) -> int:
    return max((step_of(one) for one in checkpoints(run)), default=0)


def ended_early(folder: Path) -> str:
    """Return why a rule ended a run early, "" where none did."""
    return str(read_object(folder / EARLY).get("told", "")) if (folder / EARLY).is_file() else ""


def end_early(folder: Path, told: str) -> None:
    """Write down that a rule ended a run."""
    write_json(folder / EARLY, {"told": told})


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the last rows of a run's log, the newest first; of several seeds those of the first one."""
    for run in seeds_of(folder)[:1]:
        try:
            with (run / "metrics.jsonl").open("rb") as log:
                log.seek(max(log.seek(0, 2) - _TAIL, 0))
                lines = log.read().decode(errors="replace").split("\n")[:-1]
        except OSError:
            return
        for line in reversed(lines):
            try:
                yield json.loads(line)
            except ValueError:  # the first one, cut
                continue


def newest(folder: Path, wanted: str = "loss") -> dict[str, Any]:
    """Return the number of updates of a run, and its newest value of a metric and of what it was evaluated by."""
    found: dict[str, Any] = {}
    for row in rows(folder):
        found = {name: value for name, value in row.items() if name in ("step", wanted)} | found
        found = {name: value for name, value in row.items() if name.startswith(("eval/", "validation/"))} | found
    return found
