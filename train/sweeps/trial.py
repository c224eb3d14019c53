"""A run as a trial of Ray Tune, and who tells how it ended; imports Ray."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune  # pyright: ignore[reportMissingImports]  # an extra

from .config import StopConfig
from .job import Ended, Job
from .process import Running

_POLL = 0.1  # seconds
_CODE, _TOLD = "exit_code", "told"  # entries of a trial's last report


class Trial(tune.Trainable):  # pyright: ignore[reportUntypedBaseClass]
    """Runs a job, and reports each row of its metrics that has the rule's metric."""

    def setup(self, config: dict[str, Any]) -> None:
        """Start the run, or let it go on from its checkpoint; one that is known already only reports."""
        self._job, self._metric = Job(**config["job"]), config["metric"]
        self._rows = Rows(Path(self._job.folder) / "metrics.jsonl", self._metric)
        self._running = Running(self._job)
        self._last = {"step": 0, self._metric: float("nan")}

    def step(self) -> dict[str, Any]:
        """Return the next row, or how the run ended."""
        while True:
            code = self._running.code(0.0)  # asked before the rows, so that none of a run that has ended is missed
            row = self._rows.next()
            if row is not None:
                self._last = row
                return row
            if code is not None:
                return {**self._last, "done": True, _CODE: code, _TOLD: self._running.told if code else ""}
            if os.path.exists(self._job.stop):
                self._running.stop()
            time.sleep(_POLL)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the run has checkpoints of its own."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Load nothing: the run goes on from its own newest checkpoint."""

    def cleanup(self) -> None:
        """Let the run write a checkpoint and end, where the rule has decided so."""
        self._running.stop()


class Rows:
    """The rows of a log that have a metric, each once, as they are written; a row that is repeated is left out."""

    def __init__(self, path: Path, metric: str) -> None:
        """Begin before the first row; the file may not be there yet."""
        self._path, self._metric = path, metric
        self._seen = 0

    def next(self) -> dict[str, Any] | None:
        """Return the row after the last one, None where it is not written yet."""
        try:
            lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]
        except OSError:
            return None
        for line in lines:
            row = json.loads(line)
            if self._metric in row and row["step"] > self._seen:
                self._seen = row["step"]
                return {"step": row["step"], self._metric: row[self._metric]}
        return None


class Teller(tune.Callback):  # pyright: ignore[reportUntypedBaseClass]
    """Tells of each trial that ends."""

    def __init__(self, tell: Callable[[Ended], None], rule: StopConfig) -> None:
        """Tell it by a function."""
        self._tell, self._rule = tell, rule

    def __getstate__(self) -> dict[str, Any]:
        """Return what Ray Tune may store of it, for resumes that are not made."""
        return {"_rule": self._rule}

    def __deepcopy__(self, memo: object) -> Teller:
        return self

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A run ended by itself, or by the rule: then its last report is a row like others."""
        last, name = trial.last_result or {}, trial.config["job"]["name"]
        if _CODE in last:
            self._tell(Ended(name, last[_CODE], last[_TOLD]))
        else:
            value = f"{self._rule.metric} {last.get(self._rule.metric, float('nan')):.4g}"
            self._tell(Ended(name, 0, early=f"{self._rule.rule} at update {last.get('step', 0)}, {value}"))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A run was lost with its worker more often than it was to be tried."""
        job = trial.config["job"]
        self._tell(Ended(job["name"], 1, f"lost with its worker {job['tries']} times; run the same command again"))
