"""What the numbers of a vector are: angles, which jump from pi to -pi, numbers with two values, and plain ones.

A network that sees an angle as it is recorded sees a block that turns a little at pi as one that turned around, and
predicts the mean of both. So a world model sees sine and cosine. Both kinds are found in the recordings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TURN = 2 * math.pi
_NEAR = 0.5  # radians that a jump may differ from a whole turn by: what moves, moves on


@dataclass(frozen=True)
class Values:
    """How the numbers of one flat vector are read.

    Attributes:
        width: D, how many there are.
        angles: positions of those that are angles in radians.
        pairs: position -> its two values, of those that have no others.
    """

    width: int
    angles: tuple[int, ...] = ()
    pairs: tuple[tuple[int, float, float], ...] = ()

    @classmethod
    def found(cls, rows: NDArray[Any], ends: NDArray[Any]) -> Values:
        """Look at recorded vectors (N, D) of episodes with the given ends.

        An angle stays within half a turn to either side of 0 and at some time jumps by a whole one.
        """
        inside = np.ones(max(len(rows) - 1, 0), bool)
        inside[ends[:-1] - 1] = False
        change = np.abs(np.diff(rows, axis=0)[inside])
        jumps = (np.abs(change - _TURN) < _NEAR).any(axis=0) if len(change) else np.zeros(rows.shape[1], bool)
        angles = np.flatnonzero(jumps & (np.abs(rows).max(axis=0) < math.pi + 0.01)).tolist()
        pairs: list[tuple[int, float, float]] = []
        for at in range(rows.shape[1]):
            low, high = float(rows[:, at].min()), float(rows[:, at].max())
            if low < high and np.isin(rows[:, at], (low, high)).all():
                pairs.append((at, low, high))
        return cls(rows.shape[1], tuple(angles), tuple(pairs))

    @property
    def seen(self) -> int:
        """Numbers that a network sees: one more for each angle."""
        return self.width + len(self.angles)

    def to_seen(self, x: Tensor) -> Tensor:
        """Map recorded numbers (..., D) to seen ones (..., seen): sines in place of angles, cosines at the end."""
        if not self.angles:
            return x
        angles = x[..., list(self.angles)]
        plain = x.clone()
        plain[..., list(self.angles)] = angles.sin()
        return torch.cat((plain, angles.cos()), dim=-1)

    def to_recorded(self, y: Tensor) -> Tensor:
        """Map predicted numbers (..., seen) to recorded ones (..., D); of two values the nearer one."""
        x = y[..., : self.width].clone()
        if self.angles:
            x[..., list(self.angles)] = torch.atan2(x[..., list(self.angles)], y[..., self.width :])
        return self.snapped(x)

    def snapped(self, x: Tensor) -> Tensor:
        """Give numbers that have two values the nearer one; (..., D) -> (..., D)."""
        if not self.pairs:
            return x
        at = [pair[0] for pair in self.pairs]
        low, high = (x.new_tensor([pair[side] for pair in self.pairs]) for side in (1, 2))
        x = x.clone()
        x[..., at] = torch.where(x[..., at] > (low + high) / 2, high, low)
        return x

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"width": self.width, "angles": list(self.angles), "pairs": [list(pair) for pair in self.pairs]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Values:
        """Restore what `to_json` returned."""
        pairs = tuple((int(at), float(low), float(high)) for at, low, high in stored["pairs"])
        return cls(int(stored["width"]), tuple(stored["angles"]), pairs)


def error(predicted: Tensor, recorded: Tensor, values: Values) -> Tensor:
    """Differences (..., D) of two vectors as recorded; of angles the shorter way round."""
    difference = predicted - recorded
    if values.angles:
        at = list(values.angles)
        difference[..., at] = torch.remainder(difference[..., at] + math.pi, _TURN) - math.pi
    return difference
