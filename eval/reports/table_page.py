"""What is on the page of a table of runs, as blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...envs.d4rl import resolve
from ..rollouts.offline import BEST, NUMBERS, title
from . import page
from .evaluations import HEAD
from .failed_seeds import RULE, Failure, failures
from .over_tasks import Aggregates, Improvement, aggregates, improvements
from .over_tasks_page import over_tasks
from .page import Block, Bullets, Code, Heading, Paragraph, Picture, Strong, Words
from .table import Table
from .table_runs import Row

FIRST_LINE = (
    "Entries: mean ± half of the 95 % interval over training seeds (Student's t over the seeds' means); † is one"
)
LIST = "Evaluations one by one"
_LEGEND = (
    "training seed, with the 95 % interval over its episodes. Scores are D4RL-normalized, % is the success rate. Failed "
    "seeds count in the mean, lost ones have no result; both are named below."
)


@dataclass(frozen=True)
class Findings:
    """A table, and what follows from it; each is computed once, when it is first asked for."""

    table: Table

    @cached_property
    def failures(self) -> list[Failure]:
        """Training seeds that failed."""
        return failures(self.table)

    @cached_property
    def aggregates(self) -> list[Aggregates]:
        """The methods over all tasks."""
        return list(aggregates(self.table))

    @cached_property
    def improvements(self) -> list[Improvement]:
        """Each two methods."""
        return list(improvements(self.table))

    def failed(self, number: str, row: Row, method: str) -> list[int]:
        """Return the training seeds of an entry that failed."""
        found = [one.run for one in self.failures if one.number == number]
        return [run.seed for run in found if (run.row, run.method) == (row, method)]

    def lost(self, row: Row, method: str) -> list[str]:
        """Return the training seeds of an entry that have no result."""
        return [one.seed for one in self.table.lost_of(row, method)]


def blocks(found: Findings, profiles: Path | None = None) -> list[Block]:
    """Return the page: the three numbers, what they are made of, what they say over all tasks, all other evaluations.

    Args:
        found: the table.
        profiles: the picture of performance profiles.
    """
    table = found.table
    drawn: list[Block] = [] if profiles is None else [Picture(*_PROFILES[:1], profiles, _PROFILES[1])]
    means = [*_numbers(found), *_seeds(found)] if table.cells else []
    rest = [*over_tasks(found.aggregates, found.improvements), *drawn, *_runs(table)] if table.cells else []
    return [*means, *_lost(table), *rest, *_evaluations(table)]


_PROFILES = (
    "Performance profiles",
    "Share of training runs whose score is above the one on the axis, tasks counting alike: where a curve is higher, more "
    "runs come so far, and its left end shows those that failed. Bands are 95 % intervals as above, of each point by itself.",
)


def _numbers(found: Findings) -> list[Block]:
    table = found.table
    budgets = {row.budget for row in table.rows}
    had = f" All runs have had {next(iter(budgets))}." if len(budgets) == 1 else ""
    told: list[Block] = [Paragraph(f"{FIRST_LINE} {_LEGEND}{had}")]
    for number in NUMBERS:
        results = (run.result.numbers.get(number) for run in table.runs)
        heading = title(number, next(filter(None, results), None))
        rows = [[*_label(table, row), *(_cell(found, number, row, one) for one in table.methods)] for row in table.rows]
        told += [Heading(f"{heading[0].upper()}{heading[1:]}"), _texts([*_head(table), *table.methods], rows)]
        if number == BEST:
            told.append(
                Paragraph("Chosen by evaluations during training, which a user without a simulator does not have.")
            )
    return told


def _head(table: Table) -> list[str]:
    return ["task", "trained for"] if len({row.budget for row in table.rows}) > 1 else ["task"]


def _label(table: Table, row: Row) -> list[str]:
    """Return the cells that name a row: with its budget, where there are several."""
    return [row.task, str(row.budget)][: len(_head(table))]


def _cell(found: Findings, number: str, row: Row, method: str) -> str:
    failed, lost = len(found.failed(number, row, method)), len(found.lost(row, method))
    there = len(found.table.cells.get((row, method), []))
    marks = [f"{count} of {there + lost} {what}" for count, what in ((failed, "failed"), (lost, "lost")) if count]
    entry = found.table.entry(number, row, method)
    told = f" ({', '.join(marks)})" if marks else ""
    return f"{entry or '–'}{told}"


def _seeds(found: Findings) -> list[Block]:
    """Return the score of every training seed, and which of them failed."""
    table, rows = found.table, list[list[Words]]()
    for (row, method), runs in sorted(table.cells.items()):
        seeds = ", ".join(str(run.seed) for run in runs)
        rows.append([*_label(table, row), method, seeds, *(_scores(found, one, row, method) for one in NUMBERS)])
    head = [*_head(table), "method", "training seeds", *(title(number, None) for number in NUMBERS)]
    told = "Scores in the order of the training seeds; a failed one is bold."
    blocks: list[Block] = [Heading("Every training seed"), _texts(head, rows), Paragraph(told)]
    return [*blocks, *_failed(found)]


def _scores(found: Findings, number: str, row: Row, method: str) -> Words:
    failed, cells = found.failed(number, row, method), list[str | Strong]()
    for run in found.table.cells[row, method]:
        figure = f"{run.figures[number][1].mean:.1f}" if number in run.figures else "–"
        cells += [", ", Strong(figure) if run.seed in failed else figure]
    return tuple(cells[1:])


def _failed(found: Findings) -> list[Block]:
    if not found.failures:
        return [Paragraph(f"No seed has failed. {RULE}")]
    lines: list[Words] = []
    for one in found.failures:
        row, figure = one.run.row, one.figure
        interval = "" if figure.none else f" [{figure.low:.1f}, {figure.high:.1f}]"
        where = f"{', '.join(_label(found.table, row))}, {one.run.method}, training seed {one.run.seed}"
        lines.append(f"{where}: {title(one.number, None)} {figure.mean:.1f}{interval}, {one.why}")
    return [Heading("Seeds that failed"), Bullets(lines), Paragraph(RULE)]


def _lost(table: Table) -> list[Block]:
    """Return the training runs without a result."""
    if not table.lost:
        return []
    lines: list[Words] = []
    for one in table.lost:
        about = ", ".join([*filter(None, (one.task, one.method)), *([f"training seed {one.seed}"] if one.seed else [])])
        lines.append((Code(str(one.folder)), f"{f' ({about})' if about else ''}: {one.why}"))
    return [Heading("Runs without a result"), Bullets(lines), Paragraph("No figure on this page has them.")]


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
    return [*lines, *(f"{remark} ({', '.join(paths)})" for remark, paths in remarks.items())]


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
