"""Evaluations of one way of acting, or of chains, as lines of a list: what `laminar table` shows beside its means."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import LaminarError
from ...policies.storage import read_object
from ..results.chain_result import ChainResult
from ..results.result import Result, load_as, steps_text
from ..results.scores import Interval

HEAD = (
    "evaluation",
    "task",
    "method",
    "seed",
    "environment",
    "finished",
    "success",
    "score",
    "return",
    "jerk",
    "remark",
)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation that is no offline protocol.

    Attributes:
        path: its eval.json.
        task: names of the data of the run that it lies in; "" where it lies in none.
        method: recipe and process of that run.
        seed: of its training.
        result: what was measured.
    """

    path: Path
    task: str
    method: str
    seed: str
    result: Result | ChainResult

    @property
    def count(self) -> str:
        """Number of episodes or chains, of how many where it was interrupted."""
        result = self.result
        number, what = (
            (len(result.chains), "chain") if isinstance(result, ChainResult) else (len(result.episodes), "episode")
        )
        of = f" of {result.planned}" if result.planned is not None and result.planned > number else ""
        return f"{number}{of} {what}{'s' * (number > 1 or bool(of))}"

    @property
    def run(self) -> str | None:
        """The run that the measured policy lay in; None where that is not known."""
        return self.result.origin.run if self.result.origin else None

    @property
    def figures(self) -> dict[str, Interval]:
        """Unit -> what was measured in it: success, score and return of episodes, average length of chains, jerk."""
        result = self.result
        if isinstance(result, ChainResult):
            return {"average length": result.average_length} | ({"jerk": result.jerk} if result.jerk else {})
        found: dict[str, Interval | None] = {
            "success": result.success_rate,
            "score": result.normalized_score,
            "return": result.mean_return,
        }
        found |= {"jerk": result.jerk}
        return {name: interval for name, interval in found.items() if interval is not None}

    @property
    def remark(self) -> str:
        """After how many updates, and how the policy acted and sampled where that was not the plain way."""
        result = self.result
        update = result.origin.update if result.origin else None
        trained = "" if update is None else f"{update} updates"
        acting = "" if isinstance(result, ChainResult) or result.acting.plain else str(result.acting)
        manner = "" if isinstance(result, ChainResult) else result.manner
        chains = f"average length {result.average_length}" if isinstance(result, ChainResult) else ""
        steps = "" if result.steps is None else f"steps {steps_text(result.steps)}"
        interrupted = "interrupted" if " of " in self.count else ""
        return ", ".join(part for part in (trained, chains, acting, manner, steps, interrupted) if part)

    @property
    def cells(self) -> list[str]:
        """Return a row under `HEAD`."""
        figures = [str(self.figures.get(name, "–")) for name in ("success", "score", "return", "jerk")]
        about = [self.task or "–", self.method or "–", self.seed or "–", self.result.env_id, self.count]
        return [str(self.path.parent), *about, *figures, self.remark or "–"]


def read_evaluation(file: Path, names: Callable[[Any], tuple[str, str, str]]) -> Evaluation | None:
    """Return an evaluation of single episodes or of chains; None where a file is of the offline protocol.

    Args:
        file: an eval.json.
        names: settings of a run -> task, method and seed.

    Raises:
        LaminarError: the file is damaged.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # whoever reads it as the offline protocol says what is wrong with it
    if not isinstance(stored, dict) or stored.get("protocol") == "offline":
        return None
    result = load_as(ChainResult.from_json if "chains" in stored else Result.from_json, file)
    return Evaluation(file, *_run_of(file, names), result)


def _run_of(file: Path, names: Callable[[Any], tuple[str, str, str]]) -> tuple[str, str, str]:
    """Return task, method and seed of the run that an evaluation lies in, empty where it lies in none."""
    run = next((folder for folder in file.absolute().parents if (folder / "run.json").is_file()), None)
    if run is None:
        return "", "", ""
    try:
        return names(read_object(run / "run.json"))
    except (KeyError, TypeError, ValueError, LaminarError):
        return "", "", ""  # what was measured stands without it
