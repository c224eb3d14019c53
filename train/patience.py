"""How long an episode may go on while learning: no longer than it usually takes to succeed."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KNOWN = 10
"""Successes before any episode is cut off."""
RECENT = 100
"""Successes that are remembered."""
USUAL = 0.9
"""Share of the successes that is usual."""


class Patience:
    """Cuts episodes off that take `factor` times as long as nine of ten successes did.

    An episode that succeeds ends; one that fails goes on to the time limit, so that most of what is learned from would
    be a robot that is stuck. It is cut off as by a time limit, which is no terminal. Where success ends no episode
    there is nothing to compare with, and none is cut off.

    Attributes:
        limit: control steps after which an episode is cut off now.
    """

    def __init__(self, factor: float | None = None) -> None:
        """Know of no success yet; None never cuts off."""
        self.factor = factor
        self._steps: deque[float] = deque(maxlen=RECENT)
        self.limit = float("inf")

    def learn(self, steps: NDArray[np.float64]) -> None:
        """Hear of successful episodes' control steps."""
        if len(steps):
            self._steps.extend(steps.tolist())
            self._set_limit()

    def _set_limit(self) -> None:
        self.limit = float("inf")
        if self.factor is not None and len(self._steps) >= KNOWN:
            self.limit = self.factor * float(np.quantile(list(self._steps), USUAL))

    def state(self) -> Tensor:
        """(RECENT + 1,) what `load_state` needs: how many are remembered, and their steps."""
        state = torch.zeros(RECENT + 1, dtype=torch.float64)
        state[0] = len(self._steps)
        state[1 : 1 + len(self._steps)] = torch.tensor(list(self._steps), dtype=torch.float64)
        return state

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` returned."""
        self._steps = deque(state[1 : 1 + int(state[0])].tolist(), maxlen=RECENT)
        self._set_limit()
