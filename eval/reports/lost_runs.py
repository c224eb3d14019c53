"""Training runs that nobody measured: those that died must not drop out of a table without a word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...policies.storage import checkpoints, read_object
from ..results.run_record import DIVERGED, METRICS, read_rows


@dataclass(frozen=True)
class Lost:
    """A training run without an evaluation.

    Attributes:
        folder: of the run.
        task: names of its data files, as in the rows of the table; "" where its settings do not tell.
        method: recipe and process, as in the columns.
        seed: of the training.
        done: updates that it wrote down.
        planned: updates that it was to have.
        diverged: at which number that is not finite it stopped, "loss is nan at update 7"; "" where at none.
        settings: of the run.
    """

    folder: Path
    task: str
    method: str
    seed: str
    done: int
    planned: int
    diverged: str
    settings: Mapping[str, Any]

    @property
    def why(self) -> str:
        """Why there is no result; one that stands still may also be one that goes on."""
        if self.diverged:
            return f"diverged, {self.diverged} of {self.planned:,}"
        if self.done < self.planned:
            return f"stands at {self.done:,} of {self.planned:,} updates"
        return f"trained, {self.done:,} updates, and not evaluated"


def runs_in(folder: Path) -> list[Path]:
    """Return all training runs in a folder, whether they were evaluated or not; itself, or some below."""
    return [file.parent for file in sorted(folder.rglob("run.json"))]


def read_lost(run: Path, names: Callable[[Any], tuple[str, str, str]]) -> Lost:
    """Read how far a run without an evaluation came.

    Args:
        run: its folder.
        names: settings of a run -> task, method and seed.

    Raises:
        LaminarError: a damaged run.json or log.
    """
    settings = read_object(run / "run.json")
    try:
        about = names(settings)
    except (KeyError, TypeError, ValueError):
        about = "", "", ""  # of a world model, or of an early version
    rows, saved = read_rows(run / METRICS), checkpoints(run)
    done = [int(row.get("step", 0)) for row in rows[-1:]] + [int(one.name.rpartition("_")[2]) for one in saved[-1:]]
    diverged = str(read_object(run / DIVERGED).get("told")) if (run / DIVERGED).is_file() else ""
    return Lost(run, *about, max(done, default=0), int(settings.get("steps") or 0), diverged, settings)
