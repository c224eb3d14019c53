"""What a page of runs says of single training seeds, as blocks: their scores, those that failed, those without any."""

from __future__ import annotations

from collections.abc import Sequence

from ..rollouts.offline import NUMBERS, title
from .failed_seeds import RULE, Failure
from .lost_runs import Lost
from .page import Block, Bullets, Code, Heading, Paragraph, Strong, Table, Words
from .table_findings import Findings
from .table_runs import Row

LOST = "Runs without a result"


def failed(found: Findings) -> list[Block]:
    """Return the seeds that failed, and when a seed counts as that."""
    lines = [_failure(found, one) for one in found.failures]
    told = [Paragraph(RULE)] if lines else [Paragraph(("None. ", RULE))]
    return [Heading("Training seeds that failed"), *([Bullets(lines)] if lines else []), *told]


def _failure(found: Findings, one: Failure) -> str:
    told: list[str] = []
    for number, why in one.why.items():
        figure = one.run.figures[number][1]
        interval = "" if figure.none else f" [{figure.low:.1f}, {figure.high:.1f}]"
        told.append(f"{figure.mean:.1f}{interval} ({title(number, None)}), {why}")
    had = [str(one.run.row.budget)] if found.budget_head else []
    where = ", ".join([one.run.row.task, *had, one.run.method])
    return f"{where}, training seed {one.run.seed}: {'; '.join(told)}"


def lost(runs: Sequence[Lost]) -> list[Block]:
    """Return the training runs without a result; nothing where there are none."""
    if not runs:
        return []
    lines: list[Words] = []
    for one in runs:
        about = ", ".join([*filter(None, (one.task, one.method)), *([f"training seed {one.seed}"] if one.seed else [])])
        lines.append((Code(str(one.folder)), f"{f' ({about})' if about else ''}: {one.why}"))
    return [Heading(LOST), Bullets(lines), Paragraph("No figure on this page has them.")]


def every_seed(found: Findings) -> list[Block]:
    """Return the score of every training seed, failed ones bold."""
    table, rows = found.table, list[list[Words]]()
    numbers = [number for number in NUMBERS if any(number in run.figures for run in table.runs)]
    for (row, method), runs in sorted(table.cells.items()):
        seeds = ", ".join(str(run.seed) for run in runs)
        rows.append(
            [
                row.task,
                *found.budget(row.budget),
                method,
                seeds,
                *(_scores(found, number, row, method) for number in numbers),
            ]
        )
    head = ["task", *found.budget_head, "method", "training seeds", *(title(number, None) for number in numbers)]
    told = "Scores in the order of the training seeds; of those that failed they are bold."
    return [Heading("Every training seed"), Table(head, rows, left=len(head)), Paragraph(told)]


def _scores(found: Findings, number: str, row: Row, method: str) -> Words:
    runs, failing = found.table.cells[row, method], found.failed(number, row, method)
    if not any(number in run.figures for run in runs):
        return "–"
    cells: list[str | Strong] = []
    for run in runs:
        figure = f"{run.figures[number][1].mean:.1f}" if number in run.figures else "–"
        cells += [", ", Strong(figure) if run.seed in failing else figure]
    return tuple(cells[1:])
