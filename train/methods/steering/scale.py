"""The unit of rewards in training: returns of about 1, for which learning rate and temperature are made."""

from __future__ import annotations

from typing import Any

import numpy as np

from .config import Config


class LargestReturn:
    """The largest discounted return, in absolute value, of episodes that are followed chunk by chunk."""

    def __init__(self, config: Config, slots: int) -> None:
        """Have seen nothing yet."""
        self._config = config
        self._running = np.zeros((2, slots))  # discounted return and control steps of the episode in each slot
        self._largest = 0.0

    def add(self, seen: dict[str, Any]) -> None:
        """Follow the rows of `Interaction.step`."""
        reward, steps, ended = (seen[name].numpy() for name in ("reward", "steps", "ended"))
        weight = self._config.discount ** self._running[1]
        self._running += weight * (reward + self._config.reward_shift * steps), steps
        self._largest = max(self._largest, float(np.abs(self._running[0]).max()))
        self._running[:, ended] = 0.0

    @property
    def reward_scale(self) -> float:
        """Factor of rewards: `method.reward_scale`, or what brings returns above 1 down to 1."""
        given = self._config.reward_scale
        return 1 / max(1.0, self._largest) if given is None else given
