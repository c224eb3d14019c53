"""Where things are from each other, and how they are turned: the hand and each thing, and any two blocks.

Whether fingers are around a block is a matter of millimeters; a network that sees both places in the room has to find
their difference among tenths of meters. So each difference is there twice: in meters, and so that small ones are large.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from ....data.spec import Spec
from . import Transform
from .poses import Place, angles, positions, rotation

CLOSE = 0.05
"""Meters; differences below it fill most of the range of what is seen of them close up."""


class Relative(Transform):
    """The way (3,) from the hand, the first position of the Spec, to any other, and the same close up.

    Also from one to another of those that have a rotation, and for these two columns of the matrix that leads from the
    one to the other, in the axes of the first: what a hand has to turn by.
    """

    needs = "two positions, each three numbers called x, y and z (or red_x, red_y, red_z)"

    def __init__(self, spec: Spec) -> None:
        places = positions(spec)
        turned = {(place.key, place.name): place for place in angles(spec)}
        known = [place for place in places if (place.key, place.name) in turned]
        self._ways = [(hand, other) for hand, other in combinations(places, 2) if hand == places[0]]
        self._ways += [(one, other) for one, other in combinations(known, 2) if one != places[0]]
        self._turns = list(combinations([turned[place.key, place.name] for place in known], 2))
        self.shape = (6 * len(self._ways) + 6 * len(self._turns),)
        self.replaced = set()

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return (..., 6 pairs) of ways, and (..., 6) more of each pair of rotations."""
        one, other = _both(self._ways, observation)
        way = (other - one).flatten(-2)
        parts = [way, torch.tanh(way / CLOSE)]
        if self._turns:
            one, other = (rotation(euler) for euler in _both(self._turns, observation))  # (..., n, 3, 3)
            parts.append((one.mT @ other)[..., :2].flatten(-3))
        return torch.cat(parts, -1)


def _both(pairs: list[tuple[Place, Place]], observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return (..., pairs, 3) of the first and of the second of each pair."""
    one, other = (torch.stack([pair[side].of(observation) for pair in pairs], -2) for side in (0, 1))
    return one, other
