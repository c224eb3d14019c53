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
from ..results.chain_result import ChainResult
from ..rollouts.offline import BEST, NUMBERS, SINGLE, title
from . import page
from .as_markdown import blocks_as_markdown
from .evaluations import HEAD, Evaluation
from .table import Table

_FIRST_LINE = (
    "Entries: mean ± half of the 95 % interval over training seeds (Student's t over the seeds' means); † is one"
)
_LIST = "## Evaluations one by one"
_KINDS = ("bootstrap over episodes", "t over training seeds")  # of an entry of one training seed, or of several


def markdown(table: Table) -> str:
    """Return one table for each of the three numbers, what they are made of, and all other evaluations."""
    return "\n".join([*(_means(table) if table.cells else []), *_evaluations(table), ""]).lstrip("\n")


def _evaluations(table: Table) -> list[str]:
    """Return the evaluations that no mean is made of, one a row."""
    if not table.evaluations:
        return []
    head = [
        "",
        _LIST,
        "",
        "Figures have 95 % intervals over the episodes of the evaluation; jerk is the mean squared one of the actions.",
        "",
    ]
    return [*head, *_rows(HEAD, [one.cells for one in table.evaluations])]


def _means(table: Table) -> list[str]:
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
    return [*lines, "", "## Runs", "", *_runs(table), "", *_notes(table)]


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
    return lines + [f"- {remark} ({', '.join(paths)})" for remark, paths in remarks.items()]


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return blocks_as_markdown([page.Table(head, list(rows), left=len(head))])[:-1]


def to_csv(table: Table) -> str:
    """Return a header, a line for each number, task and method, and for each figure of the other evaluations."""
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
    lines += [line for one in table.evaluations for line in _figures(one)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def check_stem(stem: str | Path, overwrite: bool) -> None:
    """Refuse to write over `stem.md` and `stem.csv` where they are no table from here.

    Raises:
        LaminarError: names the file.
    """
    pages, figures = (_FIRST_LINE, _LIST), ("number,task,method,unit,",)
    for path, begins in ((Path(f"{stem}.md"), pages), (Path(f"{stem}.csv"), figures)):
        own = path.is_file() and path.read_bytes().startswith(tuple(one.encode() for one in begins))
        check_files([path], own or overwrite, "laminar table did not write it")


def _figures(one: Evaluation) -> list[dict[str, Any]]:
    """Return a line for each unit that an evaluation has figures in."""
    result = one.result
    acting = {} if isinstance(result, ChainResult) else result.acting.to_json()
    count = len(result.chains if isinstance(result, ChainResult) else result.episodes)
    return [
        {"number": "evaluation", "task": one.task, "method": one.method, "unit": unit, "mean": interval.mean}
        | {name: None if interval.none else getattr(interval, name) for name in ("low", "high")}
        | {"interval": f"none, {interval.none}" if interval.none else "over episodes"}
        | {"training_seeds": one.seed, "episodes_per_seed": count, "env_id": result.env_id, **acting}
        | {"evaluation": str(one.path), "remark": one.remark}
        for unit, interval in one.figures.items()
    ]


def save_table(table: Table, stem: str | Path) -> tuple[Path, Path]:
    """Write `stem.md` and `stem.csv`, and return their paths."""
    text, figures = Path(f"{stem}.md"), Path(f"{stem}.csv")
    text.parent.mkdir(parents=True, exist_ok=True)
    write_text(text, markdown(table))
    write_text(figures, to_csv(table))
    return text, figures
