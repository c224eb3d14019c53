"""A table of runs as plain values: what `laminar table` writes as JSON."""

from __future__ import annotations

from typing import Any

from ..results.scores import Interval
from ..rollouts.offline import NUMBERS
from .over_tasks import Aggregates
from .table_findings import Findings
from .table_runs import Budget, Row, Run

RECORD = "table_of_runs"
"""The first entry of the record, the version of its form."""


def record(found: Findings) -> dict[str, Any]:
    """Return entries with every training seed, what died, and what follows over all tasks."""
    table = found.table
    return {
        RECORD: 1,
        "confidence": 0.95,
        "entries": [
            one
            for number in NUMBERS
            for row, method in sorted(table.cells)
            if (one := _entry(found, number, row, method)) is not None
        ],
        "failed_seeds": [
            {**_place(one.run.row), "method": one.run.method, "seed": one.run.seed, "why": dict(one.why)}
            for one in found.failures
        ],
        "without_result": [
            {"run": str(one.folder), "task": one.task, "method": one.method, "seed": one.seed, "why": one.why}
            | {"updates": one.done, "planned_updates": one.planned, "diverged": one.diverged or None}
            for one in table.lost
        ],
        "over_tasks": [line for one in found.aggregates for line in _aggregates(one)],
        "probability_of_improvement": [
            {"number": one.number, **_budget(one.budget), "first": one.names[0], "second": one.names[1]}
            | {"tasks": one.tasks, "runs": [list(counts) for counts in one.counts], **one.probability.to_json()}
            for one in found.improvements
        ],
        "evaluations": [
            {"path": str(one.path), "task": one.task, "method": one.method, "training_seed": one.seed}
            | {"env_id": one.result.env_id, "remark": one.remark}
            | {"figures": {name: interval.to_json() for name, interval in one.figures.items()}}
            for one in table.evaluations
        ],
    }


def _budget(budget: Budget) -> dict[str, int]:
    return {"updates": budget.updates, "env_steps": budget.env_steps}


def _place(row: Row) -> dict[str, Any]:
    return {"task": row.task, **_budget(row.budget)}


def _entry(found: Findings, number: str, row: Row, method: str) -> dict[str, Any] | None:
    entry = found.table.entry(number, row, method)
    if entry is None:
        return None
    runs, failed = found.table.cells[row, method], found.failed(number, row, method)
    result = runs[0].result.numbers[number]
    return {
        "number": number,
        **_place(row),
        "method": method,
        "unit": entry.unit,
        **entry.interval.to_json(),
        "interval_over": "training seeds" if entry.over_seeds else "episodes",
        "episodes_per_seed": len(result.episodes),
        "env_id": result.env_id,
        "acting": result.acting.to_json(),
        "settings_changed": runs[0].changed,
        "seeds": [_seed(run, number, run.seed in failed) for run in runs],
        "lost_seeds": found.lost(row, method),
    }


def _seed(run: Run, number: str, failed: bool) -> dict[str, Any]:
    interval: Interval = run.figures[number][1]
    told = {"seed": run.seed, **interval.to_json(), "failed": failed}
    return told | {"updates": run.result.updates[number], "evaluation": str(run.path)}


def _aggregates(one: Aggregates) -> list[dict[str, Any]]:
    about = {"number": one.number, **_budget(one.budget), "unit": one.unit, "tasks": [row.task for row in one.rows]}
    about |= {"left_out": dict(one.missing)}
    if not one.rows:
        return [about]
    return [
        about
        | {"method": method, "runs": one.counts(method)}
        | {name.replace(" ", "_"): figure.to_json() for name, figure in one.figures[method].items()}
        for method in one.scores
    ]
