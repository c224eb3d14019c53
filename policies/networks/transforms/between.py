"""What lies where from another, as rows from which the network of a policy picks: any two objects, in either order.

To stack is to bring one block above another, whichever these are. The hand need not know where in the room they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import torch
from torch import Tensor

from ....data.spec import Spec
from . import Transform
from .poses import angles, positions, rotation
from .relative import CLOSE


class Between(Transform):
    """One row an ordered pair of objects that have a position and a rotation: (pairs, 15).

    Where the first is from the hand, the first pose, close up (3,), so that the one in the hand can be told. The way
    from it to the second (3,), the same close up (3,), and two columns of the second's rotation in its axes (6,).
    """

    needs = "three poses, each six numbers called x, y, z, roll, pitch and yaw (or red_x, …)"

    def __init__(self, spec: Spec) -> None:
        turned = {(place.key, place.name): place for place in angles(spec)}
        self._places = [place for place in positions(spec) if (place.key, place.name) in turned]
        self._angles = [turned[place.key, place.name] for place in self._places]
        pairs = list(permutations(range(1, len(self._places)), 2))
        self._first, self._second = [one for one, _ in pairs], [other for _, other in pairs]
        self.shape = (len(pairs), 15) if pairs else (0,)
        self.replaced = set()

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return (..., pairs, 15)."""
        place = torch.stack([one.of(observation) for one in self._places], -2)  # (..., n, 3)
        turn = rotation(torch.stack([one.of(observation) for one in self._angles], -2))  # (..., n, 3, 3)
        held = torch.tanh((place[..., self._first, :] - place[..., :1, :]) / CLOSE)
        way = place[..., self._second, :] - place[..., self._first, :]
        seen = turn[..., self._first, :, :].mT @ turn[..., self._second, :, :]
        return torch.cat((held, way, torch.tanh(way / CLOSE), seen[..., :2].flatten(-2)), -1)
