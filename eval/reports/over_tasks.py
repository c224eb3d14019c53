"""A table's methods over all tasks and training seeds: robust aggregates, and which method is likely better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from ..results.aggregates import AGGREGATES, Scores, aggregate, probability_of_improvement
from ..results.scores import Interval
from ..rollouts.offline import NUMBERS, SCALED, episode_scores
from .table import Table
from .table_runs import Budget, Row


@dataclass(frozen=True)
class Aggregates:
    """One of the three numbers at one budget, over the tasks that all methods have.

    Attributes:
        number: "single_last" for example.
        budget: of all runs.
        unit: of all scores.
        rows: tasks.
        scores: method -> its scores on each of them.
        missing: method -> tasks that others have and it lacks; they are left out for all.
    """

    number: str
    budget: Budget
    unit: str
    rows: list[Row]
    scores: Mapping[str, Scores]
    missing: Mapping[str, list[str]]

    @cached_property
    def figures(self) -> dict[str, dict[str, Interval]]:
        """Method -> its aggregates, name -> figure."""
        return {
            method: {name: aggregate(scores, name) for name in AGGREGATES} for method, scores in self.scores.items()
        }

    def counts(self, method: str) -> list[int]:
        """Return the number of runs of a method on each task."""
        return [len(runs) for runs in self.scores[method]]


@dataclass(frozen=True)
class Improvement:
    """How likely a run of one method is better than one of another, over the tasks that both have.

    Attributes:
        number: "single_last" for example.
        budget: of all runs.
        names: of both methods.
        tasks: that both have.
        counts: (runs of the first, of the second) on each.
        probability: that the first is better.
    """

    number: str
    budget: Budget
    names: tuple[str, str]
    tasks: list[str]
    counts: list[tuple[int, int]]
    probability: Interval


def aggregates(table: Table) -> Iterator[Aggregates]:
    """Aggregate what has a scale that tasks share, a number, a budget and a unit at a time.

    What cannot be aggregated because there is no task that all methods have comes without rows.
    """
    for number in NUMBERS:
        for budget in _budgets(table):
            units = _units(table, number, budget)
            for unit in SCALED:
                rows = [row for row, own in units.items() if own == unit]
                if rows:
                    yield _aggregates(table, number, unit, rows)


def _aggregates(table: Table, number: str, unit: str, rows: Sequence[Row]) -> Aggregates:
    has = {method: [row for row in rows if table.runs_of(number, row, method)] for method in table.methods}
    has = {method: own for method, own in has.items() if own}
    common = [row for row in rows if all(row in own for own in has.values())]
    missing = {method: [row.task for row in rows if row not in own] for method, own in has.items()}
    missing = {method: tasks for method, tasks in missing.items() if tasks}
    scores = {method: _scores(table, number, common, method) for method in has}
    return Aggregates(number, rows[0].budget, unit, common, scores, missing)


def improvements(table: Table) -> Iterator[Improvement]:
    """Compare each two methods where they have a task and a budget in common; of any unit, as only the order counts."""
    for number in NUMBERS:
        for budget in _budgets(table):
            for names in combinations(table.methods, 2):
                rows = [
                    row for row in _rows(table, budget) if all(table.runs_of(number, row, method) for method in names)
                ]
                if rows:
                    ours, theirs = (_scores(table, number, rows, method) for method in names)
                    counts = [(len(x), len(y)) for x, y in zip(ours, theirs, strict=True)]
                    tasks = [row.task for row in rows]
                    found = probability_of_improvement(ours, theirs)
                    yield Improvement(number, budget, names, tasks, counts, found)


def _budgets(table: Table) -> list[Budget]:
    return sorted({row.budget for row in table.rows})


def _rows(table: Table, budget: Budget) -> list[Row]:
    return [row for row in table.rows if row.budget == budget]


def _units(table: Table, number: str, budget: Budget) -> dict[Row, str]:
    """Return the unit of each row of a budget; it is the same for all methods."""
    found: dict[Row, str] = {}
    for row in _rows(table, budget):
        for method in table.methods:
            for run in table.runs_of(number, row, method):
                found[row] = run.figures[number][0]
    return found


def _scores(table: Table, number: str, rows: Sequence[Row], method: str) -> Scores:
    return [[episode_scores(run.result.numbers[number]) for run in table.runs_of(number, row, method)] for row in rows]
