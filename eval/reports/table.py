"""Evaluated runs as one table: rows are tasks, columns are methods, entries have intervals over training seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import LaminarError
from ..results.pair import SIMULATORS
from ..results.result import Result, steps_text
from ..results.scores import Interval, t_interval
from ..rollouts.offline import NUMBERS, SINGLE, OfflineResult, load_offline, score
from .evaluations import Evaluation, read_evaluation

Published = Callable[[str], Mapping[str, Any]]

# Settings in which the runs of one entry may differ: the seed, and what does not change the mathematics.
_FREE = (
    "seed",
    "seeds",
    "out",
    "resume",
    "wandb",
    "log_every",
    "checkpoint_every",
    "evaluation",
    "runtime",
    "env",
    "record",
)


@dataclass(frozen=True)
class Run:
    """One evaluated run of one training seed.

    Attributes:
        path: its eval.json.
        task: row of the table, the names of its data files.
        method: column, the recipe and the process: "ofql (meanflow)".
        changed: settings that differ from the recipe's own, "eta=0.3".
        result: what was measured.
    """

    path: Path
    task: str
    method: str
    changed: str
    result: OfflineResult

    @property
    def seed(self) -> int:
        """Training seed."""
        return self.result.settings["seed"]


@dataclass(frozen=True)
class Entry:
    """One number of one method on one task."""

    interval: Interval
    unit: str
    over_seeds: bool  # Student's t over training seeds; else a bootstrap over the episodes of the only one

    def __str__(self) -> str:
        """Return for example ``83.2 ± 4.1``, or ``83.2 [80.1, 86.0]†`` for one training seed."""
        x = self.interval
        if x.none:
            return (
                f"{x.mean:.1f} ({x.none}){'' if self.over_seeds else '†'}{' (return)' if self.unit == 'return' else ''}"
            )
        interval = f"± {x.high - x.mean:.1f}" if self.over_seeds else f"[{x.low:.1f}, {x.high:.1f}]†"
        return f"{x.mean:.1f} {interval}{' (return)' if self.unit == 'return' else ''}"


@dataclass(frozen=True)
class Table:
    """All runs by task and method.

    Attributes:
        cells: (task, method) -> runs, by training seed.
        evaluations: those of one way of acting, and of chains, which are listed one by one.
    """

    cells: dict[tuple[str, str], list[Run]]
    evaluations: list[Evaluation]

    @property
    def tasks(self) -> list[str]:
        """Rows, in alphabetical order."""
        return sorted({task for task, _ in self.cells})

    @property
    def methods(self) -> list[str]:
        """Columns, in alphabetical order."""
        return sorted({method for _, method in self.cells})

    @property
    def runs(self) -> Iterator[Run]:
        """All runs, by task and method."""
        return (run for _, runs in sorted(self.cells.items()) for run in runs)

    def entry(self, number: str, task: str, method: str) -> Entry | None:
        """Return one entry; None where a run lacks the number, because a mean over the others would be a choice."""
        results = [run.result.numbers.get(number) for run in self.cells.get((task, method), [])]
        figures = [score(result) for result in results if result is not None]
        if not figures or len(figures) < len(results):
            return None
        unit, only = figures[0]
        if len(figures) == 1:
            return Entry(only, unit, over_seeds=False)
        return Entry(t_interval([interval.mean for _, interval in figures]), unit, over_seeds=True)


def tabulate(folders: Sequence[str | Path], published: Published) -> Table:
    """Collect the runs below some folders.

    Args:
        folders: each holds evaluations, itself or somewhere below.
        published: gives the settings of a recipe (`laminar train method=`), to tell what a run changed in them.

    Raises:
        LaminarError: a folder without an evaluation, a training seed that comes twice, or runs that must not be
            in one entry, or beside each other, because they were trained or measured differently; names both.
    """
    found: dict[Path, Run] = {}
    others: dict[Path, Evaluation] = {}
    for folder in folders:
        for one in _read(Path(folder), published):
            place = one.path.resolve()  # a folder may be given twice
            if isinstance(one, Run):
                found[place] = one
            else:
                others[place] = one
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(found.values(), key=lambda run: (run.seed, run.path)):
        cells.setdefault((run.task, run.method), []).append(run)
    for runs in cells.values():
        _check_entry(runs)
    table = Table(cells, sorted(others.values(), key=lambda one: one.path))
    _check_measurements(list(table.runs))
    return table


def _read(folder: Path, published: Published) -> Iterator[Run | Evaluation]:
    """Read the evaluations of one folder.

    Raises:
        LaminarError: there is none, or one is damaged: it must not drop out of a mean.
    """
    files = [folder / "eval.json"] if (folder / "eval.json").is_file() else sorted(folder.rglob("eval.json"))
    if not files:
        reason = "no eval.json in it or below" if folder.is_dir() else "no such folder"
        raise LaminarError(f"{folder}: {reason}; run `laminar eval policy.path=RUN env.id=… out=RUN/eval` first")
    for file in files:
        yield read_evaluation(file, _names) or _run(file, published)


def _names(settings: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return task, method and seed of a run by its settings."""
    method, paths = settings["method"], settings["data"]["path"]
    column = f"{_recipe(method)} ({settings['policy']['process']['name']})"
    named = [Path(path).name.removesuffix(".hdf5") for path in (paths if isinstance(paths, list) else [paths])]
    return " + ".join(named), column, str(int(settings["seed"]))


def _recipe(method: Mapping[str, Any]) -> str:
    return str(method.get("recipe", method["name"]))


def _run(file: Path, published: Published) -> Run:
    result = load_offline(file)
    try:
        task, column, _ = _names(result.settings)
        method = result.settings["method"]
    except (KeyError, TypeError, ValueError) as error:
        raise LaminarError(f"{file}: the run's settings are incomplete ({error!r}); evaluate it again") from error
    if result.last.planned is not None:
        told = f"{len(result.last.episodes)} of {result.last.planned} episodes"
        raise LaminarError(f"{file}: interrupted after {told}, which no mean may have; evaluate it again")
    recipe = _recipe(method)
    own, default = _flat(method), _flat(published(recipe))
    changed = [f"{key}={own[key]}" for key, value in default.items() if key in own and own[key] != value]
    return Run(file, task, column, ", ".join(changed), result)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _check_entry(runs: Sequence[Run]) -> None:
    """Refuse to average over runs that differ in more than the seed."""
    seen: dict[int, Run] = {}
    for run in runs:
        same = seen.setdefault(run.seed, run)
        if same is not run:
            raise LaminarError(
                f"{same.path} and {run.path} are of one training seed, {run.seed}; leave one of them out"
            )
        _agree(runs[0], run, _training(runs[0]), _training(run))


def _training(run: Run) -> dict[str, Any]:
    """Return what must be the same for all runs of an entry."""
    settings = run.result.settings
    kept = _flat({key: value for key, value in settings.items() if key not in _FREE})
    kept.pop("data.path")  # the names of the files are the row; their folder may differ
    start = settings.get("init")  # the path itself in runs of earlier versions
    kept["init"] = (start.get("path") if isinstance(start, Mapping) else start) is not None
    kept.pop("init.path", None)  # each seed may start from a clone of its own
    kept["init.normalizer"] = kept.get("init.normalizer", "keep")
    # how fast the updates were is free, how exact they were is not
    kept["runtime.autocast"] = bool(settings.get("runtime", {}).get("autocast", False))
    first = {"number of updates": run.result.updates[SINGLE], "reward": kept.pop("method.reward", None)}
    return first | kept


def _check_measurements(runs: Sequence[Run]) -> None:
    """Refuse to put beside each other what was measured differently."""
    of_task: dict[str, Run] = {}
    of_number: dict[str, Run] = {}
    for run in runs:
        other = of_task.setdefault(run.task, run)
        _agree(other, run, _measurement(other), _measurement(run))
        for number in NUMBERS:
            if number in run.result.numbers:
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
    return told | {package: result.versions.get(package) for package in SIMULATORS}


def _agree(one: Run, two: Run, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    for key in dict.fromkeys((*first, *second)):
        if first.get(key) != second.get(key):
            raise LaminarError(
                f"{one.path} and {two.path} cannot stand in one table of '{two.method}' on '{two.task}', their {key} "
                f"differ: {first.get(key)!r} and {second.get(key)!r}; make two tables"
            )
