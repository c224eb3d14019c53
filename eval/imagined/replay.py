"""What `laminar replay world=WORLD` does with its settings: a saved world model beside recorded episodes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import LaminarError
from ...policies.storage import weights_hash
from ...progress import Progress, silent
from ...settings import check
from ...world_models.loading import load_world
from ...world_models.model import WorldModel
from ...world_models.open_loop import AHEAD, HORIZON, MODEL, PERSISTENCE, PREDICTORS, RIDGE, SEEN, OpenLoop
from ...world_models.open_loop import OpenLoopErrors as Errors
from ...world_models.picture_errors import over_steps, picture_errors
from ..config import ReplayConfig
from ..replay.chosen import OTHER, UNKNOWN, Chosen, choose
from ..replay.errors import Array
from ..results.result import versions
from ..results.run_record import RunRecord
from .windows import Window, chosen_windows, follow_window

PACKAGES = ("laminar", "torch", "numpy")
TITLES = {MODEL: "world model", PERSISTENCE: "all stays as last seen", RIDGE: "linear model (ridge)"}


@dataclass(frozen=True)
class ImaginedReplay:
    """What a replay of a world model found.

    Attributes:
        world: its folder.
        checkpoint: hash of its weights.
        model: the world model.
        chosen: the episodes.
        windows: (so many were imagined, of so many in these episodes).
        seed: of the codes.
        errors: of the numbers; None where there are pictures alone.
        pictures: camera -> predictor -> (steps,) error as share of a pixel's range.
        shown: a few windows from near.
    """

    world: str
    checkpoint: str
    model: WorldModel
    chosen: Chosen
    windows: tuple[int, int]
    seed: int
    errors: Errors | None
    pictures: dict[str, dict[str, Array]]
    shown: list[Window]

    @property
    def remarks(self) -> list[str]:
        """What a reader of the figures must know."""
        found = [self.chosen.about]
        if self.errors is not None and self.chosen.kind in (OTHER, UNKNOWN):
            found.append("the linear model is fitted to these very episodes, which flatters it")
        return found

    @property
    def counted(self) -> str:
        """What was replayed, in words."""
        chosen, (windows, most) = self.chosen, self.windows
        stored = chosen.content["episodes"]
        whole = f" of {stored}" if len(chosen.numbers) < stored else ""
        plural = "s" * (len(chosen.numbers) > 1 or bool(whole))
        each = f"{windows} of {most}" if windows < most else f"{windows}"
        return (
            f"{len(chosen.numbers)}{whole} episode{plural} ({chosen.kind}), {each} windows of which {SEEN} "
            f"observations are seen and {HORIZON} imagined"
        )

    @property
    def totals(self) -> dict[str, dict[str, float]]:
        """Key, or "" for all numbers -> predictor -> error: of numbers in their deviations, of pictures as a share."""
        found: dict[str, dict[str, float]] = {}
        if self.errors is not None:
            errors = self.errors
            keys = {"": None} | {key: key for key in dict.fromkeys(errors.keys)}
            found = {title: {name: errors.relative(name, key) for name in PREDICTORS} for title, key in keys.items()}
        return found | {
            key: {name: over_steps(one) for name, one in rows.items()} for key, rows in self.pictures.items()
        }

    def summary(self) -> str:
        """Return the main figures in a few lines."""
        lines = [f"{self.world} on {self.chosen.source}: {self.counted}"]
        for key, row in self.totals.items():
            figures = ", ".join(f"{TITLES[name]} {value:.4g}" for name, value in row.items())
            unit = "share of a pixel's range" if key in self.pictures else "deviations"
            lines.append(
                f"  {key or 'all numbers'}, error in {unit}: {figures}; {ratio(row):.3g} of the better baseline"
            )
        return "\n".join([*lines, *(f"  note: {remark}" for remark in self.remarks)])

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values: the content of replay.json."""
        chosen = self.chosen
        return {
            "world": self.world,
            "checkpoint": self.checkpoint,
            "data": {"source": chosen.source} | chosen.content,
            "episodes": chosen.numbers,
            "kind": chosen.kind,
            "remarks": self.remarks,
            "windows": self.windows[0],
            "windows_recorded": self.windows[1],
            "seen": SEEN,
            "imagined": HORIZON,
            "events_ahead": AHEAD,
            "seed": self.seed,
            "predictors": {key or "all": row for key, row in self.totals.items()},
            "numbers": [] if self.errors is None else numbers_of(self.errors),
            "by_step": {} if self.errors is None else {n: self.errors.by_step(n).tolist() for n in PREDICTORS},
            "pictures_by_step": {
                key: {name: one.tolist() for name, one in rows.items()} for key, rows in self.pictures.items()
            },
            "versions": versions(PACKAGES),
        }


def ratio(row: dict[str, float]) -> float:
    """Return a model's error as a share of the better baseline's; NaN where that makes none."""
    least = min(value for name, value in row.items() if name != MODEL)
    return row[MODEL] / least if least > 0 else float("nan")


def numbers_of(errors: Errors) -> list[dict[str, Any]]:
    """Return what was found of each number, as plain values."""
    rmse = {name: errors.rmse(name) for name in PREDICTORS}
    found: list[dict[str, Any]] = []
    for at, (label, key) in enumerate(zip(errors.labels, errors.keys, strict=True)):
        event, row = errors.events[at], {name: float(one[at]) for name, one in rmse.items()}
        share, precision, recall = (
            None if np.isnan(one) else float(one) for one in (ratio(row), event.precision, event.recall)
        )
        found.append(
            {
                "key": key,
                "name": label.removeprefix(f"{key} "),
                "deviation": float(errors.spread[at]),
                "rmse": row,
                "ratio": share,
                "events": {
                    "happened": event.hits + event.misses,
                    "predicted": event.hits + event.false,
                    "both": event.hits,
                    "precision": precision,
                    "recall": recall,
                },
            }
        )
    return found


def replay(config: ReplayConfig, given: Collection[str] = (), progress: Progress = silent) -> ImaginedReplay:
    """Hold what a world model imagines, which `progress` follows, against what was recorded.

    Args:
        config: the settings.
        given: names of the settings that the user gave; one that has no effect is refused.
        progress: follows the windows.

    Raises:
        LaminarError: no such world model or data, data that do not fit it, or a setting of policies.
    """
    check(config)
    path = str(config.world.path)
    for setting in ("policy.path", "policy.steps", "samples"):
        if setting in given:
            raise LaminarError(f"{setting} is of policies, and world={path} is replayed; leave one of them out")
    model = load_world(path)
    chosen = choose(config.data, RunRecord.of(path), model.spec, path, config.episodes, "world model", True)
    open_loop = OpenLoop(chosen.episodes, chosen.learned, model, config.windows)
    errors = open_loop.measure(model, config.seed, progress) if open_loop.keys else None
    return ImaginedReplay(
        world=path,
        checkpoint=weights_hash(model.state_dict()),
        model=model,
        chosen=chosen,
        windows=(len(open_loop.index), len(open_loop.windows)),
        seed=config.seed,
        errors=errors,
        pictures=picture_errors(open_loop, model, config.seed),
        shown=_shown(open_loop, model, chosen, errors, config.seed),
    )


def _shown(open_loop: OpenLoop, model: WorldModel, chosen: Chosen, errors: Errors | None, seed: int) -> list[Window]:
    """Follow the best, the median and the worst window; of pictures alone, of which none is the best, a middle one."""
    places = {"median": len(open_loop.index) // 2} if errors is None else chosen_windows(errors.windows)
    found: list[Window] = []
    for place, number in places.items():
        ((episode, step),) = open_loop.windows.places(open_loop.index[number : number + 1].to(model.device))
        found.append(follow_window(open_loop, model, place, number, (chosen.numbers[episode], step), seed))
    return found
