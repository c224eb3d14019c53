"""Rotations as six numbers instead of roll, pitch and yaw: they do not jump where an angle goes from pi to -pi.

The first two columns of the rotation matrix (Zhou et al. 2019, arXiv:1812.07035).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ....data.spec import Spec
from . import Transform
from .poses import angles, rotation


class Rotations(Transform):
    """Two columns of the matrix of each rotation that has roll, pitch and yaw, which are not shown any more."""

    needs = "three numbers called roll, pitch and yaw"

    def __init__(self, spec: Spec) -> None:
        self._places = angles(spec)
        self.shape = (6 * len(self._places),)
        self.replaced = {(place.key, number) for place in self._places for number in place.numbers}

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return (..., 6) of each rotation."""
        euler = torch.stack([place.of(observation) for place in self._places], -2)  # (..., n, 3)
        return rotation(euler)[..., :2].flatten(-3)
