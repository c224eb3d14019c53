"""A table of runs, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .failed_seeds import Failure, failures
from .over_tasks import Aggregates, Improvement, aggregates, improvements
from .table import Table
from .table_runs import Budget, Row


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
        found = [one.run for one in self.failures if number in one.why]
        return [run.seed for run in found if (run.row, run.method) == (row, method)]

    def lost(self, row: Row, method: str) -> list[str]:
        """Return the training seeds of an entry that have no result."""
        return self.table.lost_of(row, method)

    @property
    def budget_head(self) -> list[str]:
        """Columns that tell the budget of a row; none where all runs have had the same."""
        if len({row.budget for row in self.table.rows}) < 2:
            return []
        acted = any(row.budget.env_steps for row in self.table.rows)
        return ["updates", *(["environment steps"] if acted else [])]

    def budget(self, budget: Budget) -> list[str]:
        """Return the cells under `budget_head`."""
        return [f"{budget.updates:,}", f"{budget.env_steps:,}"][: len(self.budget_head)]
