"""What a page of runs says of the methods over all tasks and training seeds, as blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..results.aggregates import AGGREGATES
from ..results.scores import Interval
from ..rollouts.offline import title
from .over_tasks import Aggregates, Improvement
from .page import Block, Bullets, Heading, Paragraph, Table, Words
from .table_findings import Findings

_AGGREGATES = (
    "Aggregates with 95 % intervals of a stratified bootstrap: the runs of each task are drawn "
    "anew from themselves. The interquartile mean is the mean of the middle half of all runs; median and mean are "
    "those of the tasks' means; the optimality gap is how far scores fall short of 100, less is better (Agarwal et "
    "al. 2021, as their package rliable defines them). Only runs that were trained as long are taken together."
)
_IMPROVEMENT = (
    "How likely a run of the first method is better than one of the second that was trained as long: the share of "
    "pairs of runs in which it is higher, ties count half, averaged over the tasks that both have. 0.5 says that "
    "neither is. Intervals as above; there is none where all pairs agree."
)


def over_tasks(found: Findings) -> list[Block]:
    """Return the tables of aggregates and of probabilities of improvement.

    Of one task with fewer runs than have a middle half, an aggregate says no more than the entry.
    """
    several = [one for one in found.aggregates if len(one.rows) != 1 or _have_middle_half(one)]
    pairs = found.improvements
    return [*(_aggregates(found, several) if several else []), *(_improvements(found, pairs) if pairs else [])]


def _have_middle_half(one: Aggregates) -> bool:
    return max(sum(one.counts(method)) for method in one.scores) >= 4


def _aggregates(found: Findings, several: Sequence[Aggregates]) -> list[Block]:
    units = {one.unit for one in several}
    head = ["number", *found.budget_head, "method", *AGGREGATES, "tasks", "runs", *(["unit"] if len(units) > 1 else [])]
    rows: list[list[Words]] = []
    for one in several:
        for method in one.scores if one.rows else ():
            counts = one.counts(method)
            mark = "†" if 1 in counts else ""
            figures = [f"{_text(figure)}{mark}" for figure in one.figures[method].values()]
            unit = [one.unit] if len(units) > 1 else []
            rows.append(
                [
                    title(one.number, None),
                    *found.budget(one.budget),
                    method,
                    *figures,
                    str(len(counts)),
                    str(sum(counts)),
                    *unit,
                ]
            )
    notes = list(dict.fromkeys(note for one in several for note in _notes(found, one)))
    table = [Table(head, rows, left=head.index("method") + 1)] if rows else []
    return [
        Heading("Over tasks and training seeds"),
        Paragraph(_AGGREGATES),
        *table,
        *([Bullets(notes)] if notes else []),
    ]


def _notes(findings: Findings, found: Aggregates) -> Iterator[str]:
    of = ", ".join([title(found.number, None), *([str(found.budget)] if findings.budget_head else [])])
    for method, tasks in found.missing.items():
        yield f"{of}: {method} lacks {', '.join(tasks)}, which all methods leave out here"
    if not found.rows:
        yield f"{of}: no task that all methods have, so no figure"
        return
    if found.missing:
        yield f"{of}: over {', '.join(row.task for row in found.rows)}"
    alone = [method for method in found.scores if 1 in found.counts(method)]
    if alone:
        yield (
            f"† {', '.join(alone)}: one training seed on some task, or on all. There episodes are drawn anew, so the "
            "interval says nothing about another seed"
        )
    uneven = [method for method in found.scores if len(set(found.counts(method))) > 1]
    if uneven:
        yield (
            f"{', '.join(uneven)}: not as many training seeds on each task; in the interquartile mean every run counts "
            "alike, so tasks with more of them count more"
        )


def _improvements(found: Findings, pairs: Sequence[Improvement]) -> list[Block]:
    head = ["number", *found.budget_head, "first", "second", "P(first > second)", "low", "high", "tasks", "runs"]
    rows = [
        [
            title(one.number, None),
            *found.budget(one.budget),
            *one.names,
            *_cells(one),
            str(len(one.tasks)),
            _counts(one),
        ]
        for one in pairs
    ]
    table = Table(head, rows, left=head.index("second") + 1)
    return [Heading("Probability of improvement"), Paragraph(_IMPROVEMENT), table]


def _cells(one: Improvement) -> list[str]:
    found = one.probability
    mark = "†" if any(1 in counts for counts in one.counts) else ""
    ends = ["–", "–"] if found.none else [f"{found.low:.2f}", f"{found.high:.2f}"]
    return [f"{found.mean:.2f}{mark}", *ends]


def _counts(one: Improvement) -> str:
    first, second = (sum(counts) for counts in zip(*one.counts, strict=True))
    return f"{first} and {second}"


def _text(figure: Interval) -> str:
    if figure.none:
        return f"{figure.mean:.1f} ({figure.none})"
    return f"{figure.mean:.1f} [{figure.low:.1f}, {figure.high:.1f}]"
