"""Things that have a place and no rotation, as rows from which the network of a policy picks by what it is asked for.

Where buttons and handles are tells rooms apart. A network that sees all of them learns by heart what to do in the rooms
that it knows; one that is only shown the way to what it is asked for can do it in another.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ....data.spec import Spec
from . import Transform
from .poses import angles, positions
from .relative import CLOSE


class Things(Transform):
    """One row a thing: (things, 6), the way to it from the hand, the first position, and the same close up.

    Where things are in the room is not shown any more.
    """

    needs = "a position of the hand and two more that have no rotation, three numbers called x, y and z (button_x, …)"

    def __init__(self, spec: Spec) -> None:
        turned = {(place.key, place.name) for place in angles(spec)}
        self._hand, others = positions(spec)[:1], positions(spec)[1:]
        self._places = [place for place in others if (place.key, place.name) not in turned]
        self.shape = (len(self._places), 6) if len(self._places) > 1 else (0,)
        self.replaced = {(place.key, number) for place in self._places for number in place.numbers}

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return (..., things, 6)."""
        places = torch.stack([place.of(observation) for place in self._places], -2)
        way = places - self._hand[0].of(observation).unsqueeze(-2)
        return torch.cat((way, torch.tanh(way / CLOSE)), -1)
