"""Driving along a route: the point on it that a controller aims at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Route:
    """A line of straight legs that is followed in one direction."""

    def __init__(self, corners: Array, ahead: float) -> None:
        """Follow a line.

        Args:
            corners: (K, 2), from the start to the goal.
            ahead: meters between the robot's place on the line and the point that is aimed at.
        """
        self.corners = corners
        steps = np.diff(self.corners, axis=0)
        self.lengths = np.linalg.norm(steps, axis=1)
        self.directions = steps / self.lengths[:, None]
        self.ahead, self.leg = ahead, 0

    def aim(self, position: Array) -> Array:
        """Return the point (2,) that lies `ahead` beyond the nearest one of this leg; never back to an earlier leg."""
        along = float((position - self.corners[self.leg]) @ self.directions[self.leg]) + self.ahead
        if along > self.lengths[self.leg] and self.leg < len(self.lengths) - 1:
            self.leg += 1
            along -= self.lengths[self.leg - 1]
        along = min(max(along, 0.0), self.lengths[self.leg])
        return self.corners[self.leg] + along * self.directions[self.leg]
