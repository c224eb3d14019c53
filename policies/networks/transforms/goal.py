"""What is to change: a goal less what is, number by number, so that a network need not find out where the two differ.

A goal is a state to be reached, shown under "goal"; its unit is the observation that it is a state of. Zeros tell none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ....data.spec import Spec
from . import Transform
from .poses import GOAL, angles, is_told, turned
from .relative import CLOSE

FAR = 0.3
"""Meters; differences of half a table fill most of the range of what is seen of them from afar."""


class Goal(Transform):
    """Of each number how far it is from its goal, from afar and close up; of each rotation six numbers; then 1.

    All zeros where no goal is told, and where it is reached all but the last. The goal itself is not shown any more.
    """

    needs = "a 'goal' whose unit names the observation that it is a state of (data.goals=N)"
    mode, asks = "identity", True

    def __init__(self, spec: Spec) -> None:
        goal = spec.observation.get(GOAL)
        now = None if goal is None else spec.observation.get(goal.unit)
        self.shape, self.replaced = (0,), set()
        if goal is None or now is None or now.shape != goal.shape or len(goal.shape) != 1:
            return
        self._now = goal.unit
        self._turns = [(place, then) for place in angles(spec) if (then := place.in_goal(spec)) is not None]
        turning = {number for place, _ in self._turns for number in place.numbers}
        self._plain = [number for number in range(goal.width) if number not in turning]
        self.shape = (2 * len(self._plain) + 6 * len(self._turns) + 1,)
        self.replaced = {(GOAL, number) for number in range(goal.width)}

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return (..., 2 plain numbers + 6 rotations + 1)."""
        told = is_told(observation)
        missing = observation[GOAL][..., self._plain] - observation[self._now][..., self._plain]
        parts = [torch.tanh(missing / FAR), torch.tanh(missing / CLOSE)]
        parts += [turned(now.of(observation), then.of(observation)) for now, then in self._turns]
        return torch.cat((told * torch.cat(parts, -1), told), -1)
