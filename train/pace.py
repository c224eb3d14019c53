"""How many updates a method that acts takes for its control steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import LaminarError

_ROUNDING = 1e-6  # of steps / updates_per_step


@dataclass(frozen=True)
class Pace:
    """Control steps without an update first, then so many updates for each.

    Attributes:
        warm_up: control steps before those of the first update.
        updates_per_step: updates for each control step after them.
    """

    warm_up: int
    updates_per_step: float

    def updates(self, env_steps: int) -> int:
        """Return the updates of a run of so many control steps, as many as are whole.

        Raises:
            LaminarError: all of them belong to the warm-up.
        """
        if self.warm_up >= env_steps:
            raise LaminarError(
                f"method.warm_up={self.warm_up} leaves nothing of env.steps={env_steps} to learn in; give more "
                "env.steps, or a smaller method.warm_up"
            )
        return max(1, math.floor((env_steps - self.warm_up) * self.updates_per_step + _ROUNDING))

    def due(self, update: int) -> float:
        """Return the control steps that there shall be before update number `update`, from 0: those of it included."""
        return self.warm_up + (update + 1) / self.updates_per_step - _ROUNDING
