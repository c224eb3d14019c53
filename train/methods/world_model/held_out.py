"""What a run measures of its world model on episodes that it does not learn from: errors without seeing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from ....data.episodes import Episodes
from ....world_models.model import WorldModel
from ....world_models.open_loop import HORIZON, MODEL, PERSISTENCE, RIDGE, OpenLoop
from ....world_models.picture_errors import over_steps, picture_errors

ERROR = "validation/open_loop_error"
"""Root of the mean squared error over the steps ahead and all numbers, each in its own deviations; where there are
pictures alone, of their pixels."""


class OpenLoopValidation:
    """`improver.HeldOut` of a world model."""

    metric = ERROR
    shown: Sequence[str]

    def __init__(self, held_out: Episodes, learned: Episodes, model: WorldModel, skipped: int = 0) -> None:
        """Pack the episodes; `skipped` of those to learn from are too short for that."""
        self._skipped = (skipped, learned.num_episodes)
        self._open_loop = OpenLoop(held_out, learned, model)
        self._held_out = (held_out.num_episodes, len(held_out))
        ridge = (f"{ERROR}/{RIDGE}",) if self._open_loop.keys else ()
        self.shown = (ERROR, f"{ERROR}/{PERSISTENCE}", *ridge)

    def remarks(self, recorded: Episodes) -> list[str]:
        """Return what a reader of the figures must know."""
        episodes, steps = self._held_out
        skipped, learned = self._skipped
        short = (
            f"{skipped} of {learned} episodes are shorter than a sequence (method.length), and nothing is learned of "
        )
        return [
            *([f"{short}them"] if skipped else []),
            f"{episodes} of {recorded.num_episodes} episodes, {steps} of {len(recorded)} steps, are held out; "
            f"{len(self._open_loop.index)} windows of theirs are imagined {HORIZON} steps ahead",
        ]

    def measure(self, product: nn.Module) -> dict[str, float]:
        """Return the figures: in all, by number of an observation, and of events."""
        assert isinstance(product, WorldModel)  # what this method makes
        row = self._of_numbers(product) if self._open_loop.keys else {}
        pictures = picture_errors(self._open_loop, product)
        for key, errors in pictures.items():
            row[f"validation/open_loop/{key}"] = over_steps(errors[MODEL])
            row[f"validation/open_loop/{key}/{PERSISTENCE}"] = over_steps(errors[PERSISTENCE])
        if not self._open_loop.keys:
            for name, title in ((MODEL, ERROR), (PERSISTENCE, f"{ERROR}/{PERSISTENCE}")):
                row[title] = sum(over_steps(errors[name]) for errors in pictures.values()) / len(pictures)
        return row

    def _of_numbers(self, model: WorldModel) -> dict[str, float]:
        found = self._open_loop.measure(model)
        row = {ERROR: found.relative(MODEL)}
        row |= {f"{ERROR}/{name}": found.relative(name) for name in (PERSISTENCE, RIDGE)}
        for name, value in zip(found.labels, found.rmse(MODEL), strict=True):
            row[f"validation/open_loop/{name}"] = float(value)
        for name, event in zip(found.labels, found.events, strict=True):
            for what, value in (("precision", event.precision), ("recall", event.recall)):
                if math.isfinite(value):
                    row[f"validation/event_{what}/{name}"] = value
        return row
