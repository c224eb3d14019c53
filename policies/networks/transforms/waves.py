"""Where things are in the room, as waves: a hand's place near a button, a handle or an edge, to the millimeter.

Networks learn slowly what changes fast with their inputs; sines of several lengths let them tell places that are near
each other apart from the beginning (Tancik et al. 2020, arXiv:2006.10739).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ....data.spec import Spec
from . import Transform
from .poses import positions

LENGTHS = (0.8, 0.4, 0.2, 0.1)
"""Meters of the waves, from the size of a table down."""


class Waves(Transform):
    """Sine and cosine (24,) of the first position, that of the hand, for each coordinate and each of `LENGTHS`."""

    needs = "a position, three numbers called x, y and z"

    def __init__(self, spec: Spec) -> None:
        self._places = positions(spec)[:1]
        self.shape = (6 * len(LENGTHS) * len(self._places),)
        self.replaced = set()

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return (..., 24)."""
        place = self._places[0].of(observation)
        phases = torch.cat([place * (2 * math.pi / length) for length in LENGTHS], -1)
        return torch.cat((phases.sin(), phases.cos()), -1)
