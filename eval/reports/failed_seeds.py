"""Training seeds that failed: a mean hides them, and one of three decides it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from ..rollouts.offline import SCALED, SINGLE
from .table import Entry, Table
from .table_runs import Row, Run

RULE = (
    "A training seed has failed where the 95 % interval over its episodes lies wholly below half of the median of the "
    "other seeds (of scores, whose 0 means something), or wholly below the interval of the clone, if the row has one: "
    "of the same process, else of all clones the lowest."
)
_CLONING = "bc"


@dataclass(frozen=True)
class Failure:
    """A training seed that failed.

    Attributes:
        run: of the seed.
        why: number -> what it lies below; those of the three numbers by which it failed.
    """

    run: Run
    why: Mapping[str, str]


def failures(table: Table) -> list[Failure]:
    """Return the seeds that failed, by row, method and seed."""
    found: list[Failure] = []
    for _, runs in sorted(table.cells.items()):
        for run in runs:
            told = {
                number: "; ".join([*_below_siblings(run, number, runs), *_below_clone(run, number, table)])
                for number in run.figures
            }
            why = {number: reason for number, reason in told.items() if reason}
            found += [Failure(run, why)] if why else []
    return found


def _below_siblings(run: Run, number: str, runs: list[Run]) -> Iterator[str]:
    unit, figure = run.figures[number]
    others = [one.figures[number][1].mean for one in runs if one is not run and number in one.figures]
    middle = median(others) if others else 0.0
    if unit in SCALED and middle > 0 and figure.high < middle / 2:
        yield f"below half of {middle:.1f}, the median of the other seeds"


def _below_clone(run: Run, number: str, table: Table) -> Iterator[str]:
    if _is_clone(run):
        return
    clones = _clones(table, number, run.row)
    own = run.method.rpartition(" (")[2]
    name = next((name for name in clones if name.rpartition(" (")[2] == own), None)
    name = name or min(clones, key=lambda one: clones[one].interval.low, default=None)
    if name is not None and run.figures[number][1].high < clones[name].interval.low:
        yield f"below {name}, {clones[name]}"


def _clones(table: Table, number: str, row: Row) -> dict[str, Entry]:
    """Return the entries of clones in a row; what a clone has no number of, the choice of a critic, is its sample."""
    named = [method for method in table.methods if any(map(_is_clone, table.cells.get((row, method), [])))]
    found = {name: table.entry(number, row, name) or table.entry(SINGLE, row, name) for name in named}
    return {name: entry for name, entry in found.items() if entry is not None}


def _is_clone(run: Run) -> bool:
    return run.result.settings["method"]["name"] == _CLONING
