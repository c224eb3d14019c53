"""What is on the page of a table of runs, as blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...envs.d4rl import resolve
from ..rollouts.offline import BEST, NUMBERS, title
from . import page
from .evaluations import HEAD
from .over_tasks_page import over_tasks
from .page import Block, Bullets, Heading, Paragraph, Picture, Words
from .seeds_page import every_seed, failed, lost
from .table import Table
from .table_findings import Findings
from .table_runs import Row

FIRST_LINE = (
    "Entries: mean ± half of the 95 % interval over training seeds (Student's t over the seeds' means); † is one"
)
LIST = "Evaluations one by one"
_NAMED = 5  # runs that a remark names
_LEGEND = (
    "training seed, with the 95 % interval over its episodes. Scores are D4RL-normalized, % is the success rate. "
    "Failed seeds count in the mean, lost ones have no result; both are named below."
)


def blocks(found: Findings, profiles: Path | None = None) -> list[Block]:
    """Return the page: the three numbers, what they are made of, what they say over all tasks, all other evaluations.

    Args:
        found: the table.
        profiles: the picture of performance profiles.
    """
    table = found.table
    drawn: list[Block] = [] if profiles is None else [Picture(_PROFILES[0], profiles, _PROFILES[1])]
    return [
        *([*_numbers(found), *failed(found)] if table.cells else []),
        *lost(table.lost),
        *([*over_tasks(found), *drawn, *every_seed(found), *_runs(table)] if table.cells else []),
        *_evaluations(table),
    ]


_PROFILES = (
    "Performance profiles",
    "Share of training runs whose score is above the one on the axis, tasks counting alike: where a curve is higher, "
    "more runs come so far, and what it loses on the left are those that failed. Bands are 95 % intervals as above, of "
    "each point by itself.",
)


def _numbers(found: Findings) -> list[Block]:
    table = found.table
    had = "" if found.budget_head else f" All runs have had {table.rows[0].budget}."
    label = ["task", *found.budget_head]
    told: list[Block] = [Paragraph(f"{FIRST_LINE} {_LEGEND}{had}")]
    for number in NUMBERS:
        results = [result for run in table.runs if (result := run.result.numbers.get(number))]
        heading = title(number, results[0] if results else None)
        rows = [
            [row.task, *found.budget(row.budget), *(_cell(found, number, row, one) for one in table.methods)]
            for row in table.rows
        ]
        shown = page.Table([*label, *table.methods], rows, left=1) if results else Paragraph("No run has it.")
        told += [Heading(f"{heading[0].upper()}{heading[1:]}"), shown]
        if number == BEST:
            told.append(
                Paragraph("Chosen by evaluations during training, which a user without a simulator does not have.")
            )
    return told


def _cell(found: Findings, number: str, row: Row, method: str) -> str:
    failing, gone = len(found.failed(number, row, method)), len(found.lost(row, method))
    there = len(found.table.cells.get((row, method), []))
    marks = [f"{count} of {there + gone} {what}" for count, what in ((failing, "failed"), (gone, "lost")) if count]
    told = f" ({', '.join(marks)})" if marks else ""
    return f"{found.table.entry(number, row, method) or '–'}{told}"


def _runs(table: Table) -> list[Block]:
    head = ["task", "method", "training seeds", "episodes a seed", "updates", "best at", "settings changed"]
    acted = any(row.budget.env_steps for row in table.rows)
    rows: list[list[Words]] = []
    for (row, method), runs in sorted(table.cells.items()):
        best = [str(run.result.updates[BEST]) for run in runs if BEST in run.result.updates]
        counts = [str(len(runs[0].result.last.episodes)), str(row.budget.updates)]
        seeds = ", ".join(str(run.seed) for run in runs)
        steps = [str(row.budget.env_steps)] if acted else []
        rows.append([row.task, method, seeds, *counts, ", ".join(best) or "–", runs[0].changed or "–", *steps])
    head += ["environment steps"] if acted else []
    return [Heading("Runs"), _texts(head, rows), Bullets(_notes(table))]


def _notes(table: Table) -> list[Words]:
    """Return the lines about environments, versions, and what is missing."""
    lines: list[Words] = []
    for run in {run.row.task: run for run in table.runs}.values():
        result = run.result.last
        task, seeds = resolve(result.env_id), [episode.seed for episode in result.episodes]
        runner = f" ({task.gymnasium_id})" if task and task.gymnasium_id != result.env_id else ""
        note = f"; {task.note}" if task and task.note else ""
        lines.append(f"{run.row.task}: environment {result.env_id}{runner}, seeds {seeds[0]} to {seeds[-1]}{note}")
    used: dict[str, set[str]] = {}
    for run in table.runs:
        for package, number in run.result.last.versions.items():
            used.setdefault(package, set()).add(number)
    lines.append("versions: " + ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in used.items()))
    remarks: dict[str, list[str]] = {}
    for run in table.runs:
        for remark in run.result.remarks:
            remarks.setdefault(remark, []).append(str(run.path))
    return [*lines, *(f"{remark} ({_some(paths)})" for remark, paths in remarks.items())]


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{', '.join(paths[:_NAMED])}{more}"


def _evaluations(table: Table) -> list[Block]:
    """Return the evaluations that no mean is made of, one a row."""
    if not table.evaluations:
        return []
    told = (
        "Figures have 95 % intervals over the episodes of the evaluation; jerk is the mean squared one of the actions."
    )
    return [Heading(LIST), Paragraph(told), _texts(HEAD, [one.cells for one in table.evaluations])]


def _texts(head: Sequence[Words], rows: Sequence[Sequence[Words]]) -> page.Table:
    return page.Table(head, rows, left=len(head))
