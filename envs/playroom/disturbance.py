"""What is added to the experts' actions when they are executed, so that recordings show how to recover."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Of the noise that is always there: standard deviation for position, angles, gripper; and the share of it that stays
# for the next step, as only so does it push the hand off its way.
_DEVIATION = np.array([0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.0])
_MEMORY = 0.8
# Of the shoves that come now and then: their probability in a step, steps that they last, and standard deviation.
_CHANCE, _LENGTHS = 0.03, (4, 8)
_SHOVE = np.array([0.4, 0.4, 0.4, 0.3, 0.3, 0.3, 0.0])


class Disturbance:
    """Disturbs actions one after the other (DART, Laskey et al. 2017): some noise always, maybe shoves."""

    def __init__(self, random: np.random.Generator, shoves: bool = False) -> None:
        """Draw from `random`; `shoves` push the hand some centimeters off its way, now and then."""
        self._random, self._chance = random, _CHANCE if shoves else 0.0
        self._noise = _DEVIATION * random.standard_normal(7)
        self._shove, self._left = np.zeros(7), 0

    def disturb(self, action: Array) -> Array:
        """Return the action (7,) to execute instead of the expert's."""
        executed = np.clip(action + self._noise + self._shove, -1.0, 1.0)
        fresh = (1 - _MEMORY**2) ** 0.5  # keeps the standard deviation
        self._noise = _MEMORY * self._noise + fresh * _DEVIATION * self._random.standard_normal(7)
        self._left -= 1
        if self._left <= 0:
            begins = self._random.random() < self._chance
            self._shove = _SHOVE * self._random.standard_normal(7) if begins else np.zeros(7)
            self._left = int(self._random.integers(*_LENGTHS)) if begins else 0
        return executed
