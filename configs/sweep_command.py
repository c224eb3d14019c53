"""The verb `sweep`, and `laminar train -m`, which is the same by words: from these to runs that all are composed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import LaminarError
from ..eval.reports.table import tabulate
from ..eval.reports.table_report import check_stem, markdown, save_table
from ..progress import tell
from ..train.config import TrainConfig
from ..train.sweeps.config import SweepConfig
from ..train.sweeps.plan import Settings, plan
from ..train.sweeps.sweep import sweep
from .command_line import paths_in, usage_of
from .compose import compose, is_setting
from .multirun import MARKS, split
from .published import published
from .sweep_file import read

_OWN = tuple(one.name for one in fields(SweepConfig))
_MEASURE = "eval."  # in front of words of `laminar eval`


def from_words(words: Sequence[str]) -> str:
    """Run what `laminar train -m …` asks for."""
    return _go(*parts(words))


def parts(words: Sequence[str]) -> tuple[list[str], list[Settings], list[str]]:
    """Return the words of the sweep, launcher= and so on, the settings of each run, and the words of `laminar eval`.

    Raises:
        LaminarError: a word that is none of these.
    """
    plain = [word for word in words if word not in MARKS]
    own = [word for word in plain if word.partition("=")[0].partition(".")[0] in _OWN]
    measure = [word.removeprefix(_MEASURE) for word in plain if word.startswith(_MEASURE)]
    of_runs = [word for word in plain if word not in own and not word.startswith(_MEASURE)]
    if any(word.startswith("resume=") for word in of_runs):
        raise LaminarError("a sweep goes on by itself where it stopped; leave out resume=")
    return own, [*split(of_runs)], measure


def from_file(words: Sequence[str]) -> str:
    """Run what `laminar sweep FILE.yaml …` asks for; words count more than what is in the file."""
    paths, own = paths_in(list(words), lambda word: is_setting("sweep", word) or word.startswith(_MEASURE))
    if len(paths) != 1 or not all("=" in word for word in own):
        raise usage_of("sweep", "FILE.yaml [launcher=ray] [out=FOLDER] …", list(words))
    found = read(paths[0], _OWN)
    measure = [word.removeprefix(_MEASURE) for word in own if word.startswith(_MEASURE)]
    own = [word for word in own if not word.startswith(_MEASURE)]
    return _go([*found.own, *own], found.runs, [*found.measure, *measure])


def _go(own: Sequence[str], settings: Sequence[Settings], measure: Sequence[str]) -> str:
    config: SweepConfig = compose("sweep", own)
    planned = plan(settings)
    runs: list[TrainConfig] = [compose("train", [*run.words, f"out={config.out}"]) for run in planned]
    words = _measured(runs, list(measure))
    if config.out:
        check_stem(str(Path(config.out) / "table"), overwrite=False)
    text = sweep(config, planned, runs, words)
    return text + _table(Path(str(config.out)))


def _measured(runs: Sequence[TrainConfig], measure: list[str]) -> list[str]:
    """Return the words of `laminar eval`, checked; the environment may be that of the runs."""
    if not measure:
        return []
    keys = {word.partition("=")[0] for word in measure}
    known = {run.env.id for run in runs} - {None}
    if not keys & {"task", "env.id"} and len(known) == 1:
        measure = [f"env.id={known.pop()}", *measure]
    if wrong := keys & {"out", "policy.path"}:
        raise LaminarError(f"eval.{wrong.pop()} follows from the run; leave it out")
    config: Any = compose("eval", measure)
    if not config.env.id:
        raise LaminarError("eval.… measures each run: give eval.env.id=ENVIRONMENT or eval.task=TASK too")
    return measure


def _table(out: Path) -> str:
    """Write the table of what was measured in a folder, and return it; nothing where nothing was."""
    if not any(out.rglob("eval.json")):
        tell("no run was measured: eval.env.id=ENVIRONMENT measures each one, and a table compares them")
        return ""
    found = tabulate([out], published)
    paths = save_table(found, out / "table")
    for path in paths:
        tell(f"written to {path}")
    return "\n" + markdown(found)
