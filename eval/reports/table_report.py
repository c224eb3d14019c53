"""A table of runs as a Markdown page and as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...envs.d4rl import resolve
from ...overwriting import check_files
from ...policies.storage import write_text
from ..rollouts.offline import BEST, NUMBERS, SINGLE, title
from .table import Table

_FIRST_LINE = (
    "Entries: mean ± half of the 95 % interval over training seeds (Student's t over the seeds' means); † is one"
)
_KINDS = ("bootstrap over episodes", "t over training seeds")  # of an entry of one training seed, or of several


def markdown(table: Table) -> str:
    """Return one table for each of the three numbers, and what they are made of."""
    lines = [
        _FIRST_LINE,
        "training seed, with the 95 % interval over its episodes (bootstrap). Scores are D4RL-normalized.",
    ]
    for number in NUMBERS:
        heading = next((title(number, found) for run in table.runs if (found := run.result.numbers.get(number))), None)
        heading = heading or title(number, None)
        lines += ["", f"## {heading[0].upper()}{heading[1:]}", ""]
        entries = [[table.entry(number, task, method) for method in table.methods] for task in table.tasks]
        rows = [[task, *(str(entry or "–") for entry in row)] for task, row in zip(table.tasks, entries, strict=True)]
        lines += _rows(["task", *table.methods], rows)
        if number == BEST:
            lines += ["", "Chosen by evaluations during training, which a user without a simulator does not have."]
    return "\n".join([*lines, "", "## Runs", "", *_runs(table), "", *_notes(table), ""])


def _runs(table: Table) -> list[str]:
    head = ["task", "method", "training seeds", "episodes a seed", "updates", "best at", "settings changed"]
    rows: list[list[str]] = []
    for (task, method), runs in sorted(table.cells.items()):
        best = [str(run.result.updates[BEST]) for run in runs if BEST in run.result.updates]
        first = runs[0].result
        counts = [str(len(first.last.episodes)), str(first.updates[SINGLE])]
        seeds = ", ".join(str(run.seed) for run in runs)
        rows.append([task, method, seeds, *counts, ", ".join(best) or "–", runs[0].changed or "–"])
    return _rows(head, rows)


def _notes(table: Table) -> list[str]:
    """Return the lines about environments, versions, and what is missing."""
    lines: list[str] = []
    for run in {run.task: run for run in table.runs}.values():
        result = run.result.last
        task, seeds = resolve(result.env_id), [episode.seed for episode in result.episodes]
        runner = f" ({task.gymnasium_id})" if task and task.gymnasium_id != result.env_id else ""
        note = f"; {task.note}" if task and task.note else ""
        lines.append(f"- {run.task}: environment {result.env_id}{runner}, seeds {seeds[0]} to {seeds[-1]}{note}")
    used: dict[str, set[str]] = {}
    for run in table.runs:
        for package, number in run.result.last.versions.items():
            used.setdefault(package, set()).add(number)
    lines.append("- versions: " + ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in used.items()))
    remarks: dict[str, list[str]] = {}
    for run in table.runs:
        for remark in run.result.remarks:
            remarks.setdefault(remark, []).append(str(run.path))
    lines += [f"- {remark} ({', '.join(paths)})" for remark, paths in remarks.items()]
    return lines + [f"- {path}: left out, measured under another protocol" for path in table.skipped]


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def to_csv(table: Table) -> str:
    """Return a header, and one line for each number, task and method."""
    lines: list[dict[str, Any]] = []
    for number in NUMBERS:
        for (task, method), runs in sorted(table.cells.items()):
            entry = table.entry(number, task, method)
            if entry is None:
                continue
            result, interval = runs[0].result.numbers[number], entry.interval
            lines.append(
                {"number": number, "task": task, "method": method, "unit": entry.unit, "mean": interval.mean}
                | {name: None if interval.none else getattr(interval, name) for name in ("low", "high")}
                | {"interval": f"none, {interval.none}" if interval.none else _KINDS[entry.over_seeds]}
                | {"training_seeds": " ".join(str(run.seed) for run in runs)}
                | {"episodes_per_seed": len(result.episodes), "env_id": result.env_id}
                | {"updates": " ".join(str(run.result.updates[number]) for run in runs), **result.acting.to_json()}
                | {"reward": runs[0].result.settings["method"].get("reward"), "settings_changed": runs[0].changed}
            )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def check_stem(stem: str | Path, overwrite: bool) -> None:
    """Refuse to write over `stem.md` and `stem.csv` where they are no table from here.

    Raises:
        LaminarError: names the file.
    """
    for path, begins in ((Path(f"{stem}.md"), _FIRST_LINE), (Path(f"{stem}.csv"), "number,task,method,unit,")):
        own = path.is_file() and path.read_bytes().startswith(begins.encode())
        check_files([path], own or overwrite, "laminar table did not write it")


def save_table(table: Table, stem: str | Path) -> tuple[Path, Path]:
    """Write `stem.md` and `stem.csv`, and return their paths."""
    page, figures = Path(f"{stem}.md"), Path(f"{stem}.csv")
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, markdown(table))
    write_text(figures, to_csv(table))
    return page, figures
