"""The run of one seed: its folder with settings, logs, checkpoints and best policy."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ...errors import LaminarError
from ...eval.results.findings import Starts
from ...eval.results.run_record import DIVERGED
from ...eval.rollouts.episodes import evaluate
from ...policies.module import PolicyModule
from ...policies.storage import checkpoints, read_object, write_json
from ...progress import bar, tell
from ..config import TrainConfig
from ..improver import HeldOut, Improver, Product
from .account import evaluated, validated
from .checkpoint import (
    BEST,
    Best,
    check_same_run,
    defaults_of,
    drop_after,
    load_checkpoint,
    read_best,
    save_best,
    save_checkpoint,
    step_of,
)
from .data_record import RECORD, DataRecord, check_same_data
from .logs import Logs

Row = dict[str, float]


class SeedRun:
    """What one seed of a training writes and reads; `trainer` moves all seeds on together.

    Attributes:
        folder: where its run is.
        name: in front of the lines that it prints, "" of a seed that trains alone.
        improver: what is trained.
    """

    def __init__(self, config: TrainConfig, processes: int, name: str = "") -> None:
        """Check the folder; nothing is written yet.

        Raises:
            LaminarError: there is a run already, and `resume` is not set or the settings differ.
        """
        if not config.out:
            raise LaminarError("train needs out=FOLDER for its checkpoints and logs")
        self.config, self.folder, self.name = config, Path(config.out), name
        self.settings: dict[str, Any] = asdict(config) | {"processes": processes}
        self.improver: Improver
        self.data = DataRecord()
        self._logs: Logs | None = None
        self._row: Row = {}  # the last one written
        if (self.folder / "run.json").exists() or checkpoints(self.folder):
            if not config.resume:
                raise LaminarError(f"{self.folder} already holds a run: {_remedy(self.folder)}, or choose another out=")
            check_same_run(self.folder, self.settings, defaults_of(config))
            return
        there = [name for name in ("metrics.jsonl", "tensorboard", BEST) if (self.folder / name).exists()]
        if there:
            raise LaminarError(f"{self.folder} holds {there[0]} of something else than a run; choose another out=")

    def take(self, data: DataRecord) -> None:
        """Learn from recordings that were looked at.

        Raises:
            LaminarError: there is a run already, and it began with others.
        """
        check_same_data(self.folder, data)
        self.data = data

    def load(self, step: int) -> None:
        """Continue from the checkpoint of an update; from nothing if it is 0."""
        for folder in checkpoints(self.folder):
            if folder.name == f"step_{step:08d}":
                load_checkpoint(folder, self.improver)

    def open(self, step: int) -> None:
        """Write the settings and open the logs of a run that continues after `step` updates.

        Raises:
            LaminarError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "run.json", self.settings | {RECORD: self.data.to_json()})
        except OSError as error:
            raise LaminarError(f"cannot write to {self.folder}: {error.strerror}; choose another out=") from error
        (self.folder / DIVERGED).unlink(missing_ok=True)
        drop_after(self.folder, step)  # of a stop at which other seeds did not come to saving
        self._logs = Logs(self.folder, self.settings, step, self.config.wandb)

    def close(self) -> None:
        """Close the logs."""
        if self._logs:
            self._logs.close()

    def log(self, step: int, row: Row) -> None:
        """Append a row to the logs, in the process that has them, with what was seen while acting and what it cost."""
        row = row | self._acting()
        if self._logs:
            self._logs.write(step, row | self._logs.clock.read())
        self._row = {"update": step, **row}

    def _acting(self) -> Row:
        return {name: float(value) for name, value in self.improver.figures().items()}

    def save(self, step: int) -> None:
        """Write a checkpoint.

        Raises:
            LaminarError: a weight is not finite, or the disk is full.
        """
        for name, value in chain(self.improver.product().state_dict().items(), self.improver.state().items()):
            if not value.isfinite().all():
                raise self._diverged(f"{name} is not finite after update {step}", "")
        save_checkpoint(self.folder, step, self.improver, self.data.fingerprint, self.config.keep_every)

    def evaluate(self, step: int, starts: Starts | None) -> Starts | None:
        """Measure the averaged policy, log and tell the figures, and keep it if it is the best so far.

        Args:
            step: updates so far.
            starts: what an evaluation before found out about the environment's starts; None: there was none.

        Returns:
            What is known of the starts now.
        """
        assert self.config.env.id is not None  # checked with the settings
        first = self.config.evaluation.seed
        seeds = list(range(first, first + self.config.evaluation.episodes))
        policy = self.improver.product()
        assert isinstance(policy, PolicyModule)  # checked with the environment
        progress = partial(bar, title=f"evaluation at {step}")
        result = evaluate(policy, self.config.env.id, seeds, starts=starts, progress=progress)
        figures = {"return": result.mean_return, "success_rate": result.success_rate}
        figures["normalized_score"] = result.normalized_score
        row = {name: figure.mean for name, figure in figures.items() if figure is not None}
        metric = next(name for name in ("normalized_score", "success_rate", "return") if name in row)
        clipped = result.findings.clipping
        if clipped and clipped.clipped:  # by the limits of the environment
            row["clipped_share"] = clipped.clipped / clipped.steps
        best = self._keep_if_best(policy, Best(step, metric, row[metric]))
        tell(self.name + evaluated(step, figures, metric, len(seeds), best), sys.stdout)
        if self._logs:
            self._logs.write(step, {f"eval/{name}": value for name, value in row.items()} | self._acting())
        return result.findings.starts

    def validate(self, step: int, validation: HeldOut) -> None:
        """Measure what is trained on the held-out episodes, log and tell it.

        Where no environment tells which policy is best, the least error does.

        Raises:
            LaminarError: a figure is not finite.
        """
        product: Any = self.improver.product()
        row = validation.measure(product)
        self.check(row, f"after update {step}")
        best = None
        if not (self.config.env.id and self.config.evaluation.every):
            best = self._keep_if_best(product, Best(step, validation.metric, row[validation.metric]))
        tell(self.name + validated(step, row, validation.shown, best), sys.stdout)
        if self._logs:
            self._logs.write(step, row)

    def _keep_if_best(self, product: Product, found: Best) -> Best:
        """Save a product if it is the best so far; return the evaluation of the best."""
        best = read_best(self.folder)
        if best is not None and not found.beats(best):
            return best
        save_best(self.folder, product, found)
        return found

    def check(self, row: Row, when: str) -> None:
        """Stop at a number that is not finite.

        Raises:
            LaminarError: tells `when`, the numbers now and in the last row before, and the last good checkpoint.
        """
        for name, value in row.items():
            if not math.isfinite(value):
                before = f" (last row: {_figures(self._row)})" if self._row else ""
                raise self._diverged(f"{name} is {value} {when}", f": {_figures(row)}{before}")

    def _diverged(self, what: str, figures: str) -> LaminarError:
        """Write down why the run ends here, for who looks at its folder later; return what is told now."""
        if self._logs:
            write_json(self.folder / DIVERGED, {"told": what})
        return LaminarError(f"{self._whose()}{what}{figures}; {self._advice()}")

    def _whose(self) -> str:
        return f"seed {self.config.seed}: "

    def _advice(self) -> str:
        found = checkpoints(self.folder)
        last = f"The last checkpoint is {found[-1]}" if found else f"There is no checkpoint in {self.folder} yet"
        return f"lower method.lr, or look at the data with `laminar inspect`. {last}"


def _remedy(run: Path) -> str:
    """Return how a run goes on that is there already."""
    found, steps = checkpoints(run), (read_object(run / "run.json") if (run / "run.json").exists() else {}).get("steps")
    if found and step_of(found[-1]) == steps:
        return f"it is finished; start a new one from its policy with init={run} out=OTHER"
    return "add resume=true to continue it"


def _figures(row: Row) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items())
