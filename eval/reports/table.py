"""Evaluated runs as one table: rows are tasks at one budget, columns are methods, entries go over training seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import LaminarError
from ..results.pair import RETURN, SIMULATORS
from ..results.result import Result, steps_text
from ..results.scores import Interval, t_interval
from ..rollouts.offline import PERCENT
from .evaluations import Evaluation
from .lost_runs import Lost
from .table_runs import Published, Row, Run, flat, read_folders

# Settings in which the runs of one entry may differ: the seed, and what does not change the mathematics.
_FREE = (
    "seed",
    "seeds",
    "out",
    "resume",
    "wandb",
    "log_every",
    "checkpoint_every",
    "keep_every",
    "evaluation",
    "runtime",
    "env",
    "record",
)
_SHOWN = {RETURN: " (return)", PERCENT: " %"}  # behind a figure of a unit; nothing behind a normalized score


@dataclass(frozen=True)
class Entry:
    """One number of one method on one task."""

    interval: Interval
    unit: str
    over_seeds: bool  # Student's t over training seeds; else a bootstrap over the episodes of the only one

    def __str__(self) -> str:
        """Return for example ``83.2 ± 4.1``, or ``83.2 [80.1, 86.0]†`` for one training seed."""
        x, unit, mark = self.interval, _SHOWN.get(self.unit, ""), "" if self.over_seeds else "†"
        if x.none:
            return f"{x.mean:.1f}{unit} ({x.none}){mark}"
        interval = f"± {x.high - x.mean:.1f}" if self.over_seeds else f"[{x.low:.1f}, {x.high:.1f}]"
        return f"{x.mean:.1f} {interval}{unit}{mark}"


@dataclass(frozen=True)
class Table:
    """All runs by row and method.

    Attributes:
        cells: (row, method) -> runs, by training seed.
        evaluations: those of one way of acting, and of chains, which are listed one by one.
        lost: training runs without an evaluation.
    """

    cells: dict[tuple[Row, str], list[Run]]
    evaluations: list[Evaluation]
    lost: list[Lost] = field(default_factory=list[Lost])

    @property
    def rows(self) -> list[Row]:
        """Tasks in alphabetical order, each with its budgets, small ones first."""
        return sorted({row for row, _ in self.cells})

    @property
    def tasks(self) -> list[str]:
        """Names of the rows, in alphabetical order."""
        return sorted({row.task for row, _ in self.cells})

    @property
    def methods(self) -> list[str]:
        """Columns, in alphabetical order."""
        return sorted({method for _, method in self.cells})

    @property
    def runs(self) -> Iterator[Run]:
        """All runs, by row and method."""
        return (run for _, runs in sorted(self.cells.items()) for run in runs)

    def runs_of(self, number: str, row: Row, method: str) -> list[Run]:
        """Return the runs of an entry; none where one lacks the number, as a mean of the others would be a choice."""
        runs = self.cells.get((row, method), [])
        return runs if all(number in run.figures for run in runs) else []

    def entry(self, number: str, row: Row, method: str) -> Entry | None:
        """Return one entry; None where there is no run, or one lacks the number."""
        figures = [run.figures[number] for run in self.runs_of(number, row, method)]
        if not figures:
            return None
        unit, only = figures[0]
        if len(figures) == 1:
            return Entry(only, unit, over_seeds=False)
        return Entry(t_interval([interval.mean for _, interval in figures]), unit, over_seeds=True)

    def lost_of(self, row: Row, method: str) -> list[str]:
        """Return the training seeds that an entry lacks: they have no result, or one of less training alone."""
        runs, of = self.cells.get((row, method), []), (row.task, method, row.budget.updates)
        gone = [(one.seed, one.settings) for one in self.lost if (one.task, one.method, one.planned) == of]
        for run in self.runs:
            settings = run.result.settings
            if run.row.budget.updates < row.budget.updates and (run.row.task, run.method, settings.get("steps")) == of:
                gone.append((str(run.seed), settings))
        like = None if not runs else _training(runs[0].result.settings)
        found = {seed for seed, settings in gone if like is None or like == _training(settings)}
        return sorted(found - {str(run.seed) for run in runs}, key=int)


def tabulate(folders: Sequence[str | Path], published: Published) -> Table:
    """Collect the runs below some folders.

    Args:
        folders: each holds evaluations or runs, itself or somewhere below.
        published: gives the settings of a recipe (`laminar train method=`), to tell what a run changed in them.

    Raises:
        LaminarError: a folder without either, a training seed that comes twice, or runs that must not be in one
            entry, or beside each other, because they were trained or measured differently; names both.
    """
    found = read_folders(folders, published)
    cells: dict[tuple[Row, str], list[Run]] = {}
    for run in found.runs:
        cells.setdefault((run.row, run.method), []).append(run)
    for runs in cells.values():
        _check_entry(runs)
    table = Table(cells, found.evaluations, found.lost)
    _check_measurements(list(table.runs))
    return table


def _check_entry(runs: Sequence[Run]) -> None:
    """Refuse to average over runs that differ in more than the seed."""
    seen: dict[int, Run] = {}
    for run in runs:
        same = seen.setdefault(run.seed, run)
        if same is not run:
            raise LaminarError(
                f"{same.path} and {run.path} are of one training seed, {run.seed}; leave one of them out"
            )
        _agree(runs[0], run, _training(runs[0].result.settings), _training(run.result.settings))


def _training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same for all runs of an entry."""
    kept = flat({key: value for key, value in settings.items() if key not in _FREE})
    kept.pop("data.path")  # the names of the files are the row; their folder may differ
    start = settings.get("init")  # the path itself in runs of earlier versions
    kept["init"] = (start.get("path") if isinstance(start, Mapping) else start) is not None
    kept.pop("init.path", None)  # each seed may start from a clone of its own
    kept["init.normalizer"] = kept.get("init.normalizer", "keep")
    # how fast the updates were is free, how exact they were is not
    kept["runtime.autocast"] = bool(settings.get("runtime", {}).get("autocast", False))
    return {"reward": kept.pop("method.reward", None)} | kept


def _check_measurements(runs: Sequence[Run]) -> None:
    """Refuse to put beside each other what was measured differently."""
    of_task: dict[str, Run] = {}
    of_number: dict[str, Run] = {}
    for run in runs:
        other = of_task.setdefault(run.row.task, run)
        _agree(other, run, _measurement(other), _measurement(run))
        for number in run.figures:
            other = of_number.setdefault(number, run)
            told = [_sampled(one.result.numbers[number]) for one in (other, run)]
            _agree(other, run, *told)


def _sampled(result: Result) -> dict[str, Any]:
    return {"ways of acting": result.acted, "steps": None if result.steps is None else steps_text(result.steps)}


def _measurement(run: Run) -> dict[str, Any]:
    """Return what must be the same for all runs of a task."""
    result = run.result.last
    seeds = [episode.seed for episode in result.episodes]
    told = {"env.id": result.env_id, "evaluation seeds": f"{len(seeds)} from {seeds[0]} to {seeds[-1]}"}
    units = sorted({unit for unit, _ in run.figures.values()})
    return told | {"units": ", ".join(units)} | {package: result.versions.get(package) for package in SIMULATORS}


def _agree(one: Run, two: Run, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    for key in dict.fromkeys((*first, *second)):
        if first.get(key) != second.get(key):
            raise LaminarError(
                f"{one.path} and {two.path} cannot stand in one table of '{two.method}' on '{two.row.task}', their "
                f"{key} differ: {first.get(key)!r} and {second.get(key)!r}; make two tables"
            )
