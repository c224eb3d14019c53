"""Training runs and what was measured of them: what the entries of `laminar table` are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ...envs.d4rl import resolve
from ...errors import LaminarError
from ..results.scores import Interval
from ..rollouts.offline import NUMBERS, SINGLE, OfflineResult, load_offline, score
from .evaluations import Evaluation, read_evaluation
from .lost_runs import Lost, read_lost, runs_in

Published = Callable[[str], Mapping[str, Any]]
_ALIKE = 1.02  # runs stop where a chunk ends, so that the environment steps of training seeds differ by some


class Budget(NamedTuple):
    """What a run has had: only runs of one budget are compared.

    Attributes:
        updates: of the last checkpoint.
        env_steps: control steps that a method which acts took while it trained; 0 of one that does not act.
    """

    updates: int
    env_steps: int = 0

    def __str__(self) -> str:
        """Return for example ``40,000 updates, 100,000 environment steps``."""
        acted = f", {self.env_steps:,} environment steps" if self.env_steps else ""
        return f"{self.updates:,} updates{acted}"


class Row(NamedTuple):
    """What runs must have in common to stand beside each other.

    Attributes:
        task: names of the data files; with the environment where one recording serves several.
        budget: of the training.
    """

    task: str
    budget: Budget


@dataclass(frozen=True)
class Run:
    """One evaluated run of one training seed.

    Attributes:
        path: its eval.json.
        row: row of the table.
        method: column, the recipe and the process: "ofql (meanflow)".
        changed: settings that differ from the recipe's own, "eta=0.3".
        result: what was measured.
    """

    path: Path
    row: Row
    method: str
    changed: str
    result: OfflineResult

    @property
    def seed(self) -> int:
        """Training seed."""
        return self.result.settings["seed"]

    @cached_property
    def figures(self) -> dict[str, tuple[str, Interval]]:
        """Number -> its unit, and the score with its interval over episodes; those of the three that there are."""
        return {number: score(self.result.numbers[number]) for number in NUMBERS if number in self.result.numbers}


class Found(NamedTuple):
    """All that lies in some folders.

    Attributes:
        runs: evaluated under the offline protocol.
        evaluations: of one way of acting, and of chains.
        lost: training runs without an evaluation.
    """

    runs: list[Run]
    evaluations: list[Evaluation]
    lost: list[Lost]


def read_folders(folders: Sequence[str | Path], published: Published) -> Found:
    """Read what lies in some folders, each file once.

    Args:
        folders: each holds evaluations or runs, itself or somewhere below.
        published: gives the settings of a recipe (`laminar train method=`), to tell what a run changed in them.

    Raises:
        LaminarError: a folder without either, no evaluation in any, or a damaged one: it must not drop out of a mean.
    """
    runs: dict[Path, Run] = {}
    others: dict[Path, Evaluation] = {}
    begun: dict[Path, Path] = {}
    for folder in map(Path, folders):
        there, found = runs_in(folder), list(_read(folder, published))
        if not there and not found:
            raise _nothing_in(folder)
        for one in found:
            place = one.path.resolve()  # a folder may be given twice
            if isinstance(one, Run):
                runs[place] = one
            else:
                others[place] = one
        begun |= {run.resolve(): run for run in there}
    if not runs and not others:
        raise _nothing_in(Path(folders[0]))
    measured = {place for one in (*runs.values(), *others.values()) for place in _measured(one)}
    told = sorted(others.values(), key=lambda one: one.path)
    left = [read_lost(run, names) for place, run in sorted(begun.items()) if place not in measured]
    kept = _alike(sorted(runs.values(), key=lambda run: (run.seed, run.path)))
    several = _serving_several(kept)
    return Found([_told_apart(run, several) for run in kept], told, [_of_task(one, several) for one in left])


def _nothing_in(folder: Path) -> LaminarError:
    reason = "no eval.json in it or below" if folder.is_dir() else "no such folder"
    return LaminarError(f"{folder}: {reason}; run `laminar eval policy.path=RUN env.id=… out=RUN/eval` first")


def _read(folder: Path, published: Published) -> Iterator[Run | Evaluation]:
    files = [folder / "eval.json"] if (folder / "eval.json").is_file() else sorted(folder.rglob("eval.json"))
    for file in files:
        yield read_evaluation(file, names) or _run(file, published)


def _measured(one: Run | Evaluation) -> Iterator[Path]:
    """Return the run that was measured: where the evaluation says it was, and that in which the evaluation lies."""
    told = one.result.run if isinstance(one, Run) else one.run
    around = [folder for folder in one.path.absolute().parents if (folder / "run.json").is_file()][:1]
    return (Path(place).resolve() for place in (*around, *([told] if told else [])))


def names(settings: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return task, method and seed of a run by its settings; without recordings its environment is the task."""
    method, paths = settings["method"], settings["data"]["path"] or settings["env"]["id"]
    column = f"{_recipe(method)} ({settings['policy']['process']['name']})"
    files = [Path(path).name for path in (paths if isinstance(paths, list) else [paths])]
    named = [name.removesuffix(".hdf5").removesuffix(".npz") for name in files]
    return " + ".join(named), column, str(int(settings["seed"]))


def _recipe(method: Mapping[str, Any]) -> str:
    return str(method.get("recipe", method["name"]))


def _run(file: Path, published: Published) -> Run:
    result = load_offline(file)
    try:
        task, column, _ = names(result.settings)
        method = result.settings["method"]
    except (KeyError, TypeError, ValueError) as error:
        raise LaminarError(f"{file}: the run's settings are incomplete ({error!r}); evaluate it again") from error
    if result.last.planned is not None:
        told = f"{len(result.last.episodes)} of {result.last.planned} episodes"
        raise LaminarError(f"{file}: interrupted after {told}, which no mean may have; evaluate it again")
    recipe = _recipe(method)
    own, default = flat(method), flat(published(recipe))
    changed = [f"{key}={own[key]}" for key, value in default.items() if key in own and own[key] != value]
    budget = Budget(result.updates[SINGLE], result.env_steps)
    return Run(file, Row(task, budget), column, ", ".join(changed), result)


def _alike(runs: list[Run]) -> list[Run]:
    """Return runs whose numbers of environment steps are the same where they are almost so."""
    same: dict[int, int] = {}
    least = 0
    for count in sorted({run.row.budget.env_steps for run in runs}):
        least = least if least and count <= _ALIKE * least else count
        same[count] = least
    budgets = [run.row.budget._replace(env_steps=same[run.row.budget.env_steps]) for run in runs]
    return [replace(run, row=run.row._replace(budget=had)) for run, had in zip(runs, budgets, strict=True)]


def _serving_several(runs: Sequence[Run]) -> set[str]:
    """Return the recordings whose runs are of several tasks.

    A recording that D4RL scores refer to has one; another environment is a mistake there, which is told elsewhere.
    """
    found: dict[str, set[str]] = {}
    for run in runs:
        found.setdefault(run.row.task, set()).add(run.result.last.env_id)
    return {data for data, ids in found.items() if len(ids) > 1 and not any(map(resolve, ids))}


def _told_apart(run: Run, several: set[str]) -> Run:
    if run.row.task not in several:
        return run
    return replace(run, row=run.row._replace(task=_in(run.row.task, run.result.last.env_id)))


def _of_task(one: Lost, several: set[str]) -> Lost:
    """Return a lost run with the row that it would have been in, as far as its settings tell."""
    env_id = (one.settings.get("env") or {}).get("id")
    return replace(one, task=_in(one.task, env_id)) if one.task in several and env_id else one


def _in(data: str, env_id: str) -> str:
    return f"{data} in {env_id}"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
