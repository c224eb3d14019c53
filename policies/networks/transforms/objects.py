"""Objects as rows of one table, from which the network of a policy picks by what it is asked for.

Three blocks in three places of a vector are three things to learn; as three rows that look alike, what was learned of
one holds for all. Which row matters the instruction says, and the state: see `picking.Pick`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ....data.spec import Spec
from . import Transform
from .poses import Place, angles, is_told, positions, rotation, turned
from .relative import CLOSE


class Objects(Transform):
    """One row an object that has a position and a rotation: (objects, 25 and more), seen from the hand, the first pose.

    The way from the hand to it (3,), the same close up (3,), its place (3,), two columns of its rotation (6,), the same
    two in the axes of the hand (6,), and how it is turned under the hand as a box is: by half turns of its first axis
    (2,), and by quarter turns of all (2,). Then its length (1,), where the Spec has one of each (`red_length`). Where
    there are goals, twelve more: the way to where it is to be (3,), close up (3,), and how it is to be turned (6,).
    """

    compared = True  # which block is meant depends on where the others are
    needs = "three poses, each six numbers called x, y, z, roll, pitch and yaw (or red_x, …)"

    def __init__(self, spec: Spec) -> None:
        turns = {(place.key, place.name): place for place in angles(spec)}
        known = [(place, turns.get((place.key, place.name))) for place in positions(spec)]
        poses = [(place, angle) for place, angle in known if angle is not None]
        self._places, self._angles = [place for place, _ in poses], [angle for _, angle in poses]
        self._lengths = _lengths(spec, self._places[1:])
        self._goals = _goals(spec, poses[1:])
        width = 25 + bool(self._lengths) + 12 * bool(self._goals)
        self.shape = (len(poses) - 1, width) if len(poses) > 2 else (0,)
        self.replaced = set()

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return (..., objects, 25), one more with lengths, and twelve with goals."""
        place = torch.stack([one.of(observation) for one in self._places], -2)  # (..., n, 3)
        euler = torch.stack([one.of(observation) for one in self._angles], -2)
        goal = self._missing(observation, place[..., 1:, :], euler[..., 1:, :]) if self._goals else []
        turn = rotation(euler)  # (..., n, 3, 3)
        hand, here = place[..., :1, :], turn[..., :1, :, :]
        place, turn = place[..., 1:, :], turn[..., 1:, :, :]
        way, seen = place - hand, here.mT @ turn
        columns = (turn[..., :2].flatten(-2), seen[..., :2].flatten(-2))
        lengths = [torch.stack([observation[key][..., at] for key, at in self._lengths], -1)] if self._lengths else []
        seen = (way, torch.tanh(way / CLOSE), place, *columns, _as_boxes(seen))
        return torch.cat((*seen, *(one.unsqueeze(-1) for one in lengths), *goal), -1)

    def _missing(self, observation: Mapping[str, Tensor], place: Tensor, euler: Tensor) -> list[Tensor]:
        """Return what objects at places and angles (..., objects, 3) lack of a goal; zeros where none is told."""
        told = is_told(observation).unsqueeze(-2)
        then, angle = (torch.stack([pair[i].of(observation) for pair in self._goals], -2) for i in (0, 1))
        way = told * (then - place)
        return [way, torch.tanh(way / CLOSE), told * turned(euler, angle)]


def _goals(spec: Spec, poses: list[tuple[Place, Place]]) -> list[tuple[Place, Place]]:
    """Return place and angles of each object in a goal; nothing unless all have them."""
    found = [(place.in_goal(spec), angle.in_goal(spec)) for place, angle in poses]
    both = [(place, angle) for place, angle in found if place is not None and angle is not None]
    return both if len(both) == len(poses) else []


def _lengths(spec: Spec, places: list[Place]) -> list[tuple[str, int]]:
    """Return where the length of each object is; nothing unless all have one."""
    found: list[tuple[str, int]] = []
    for place in places:
        names = spec.observation[place.key].names
        if f"{place.name}_length" in names:
            found.append((place.key, names.index(f"{place.name}_length")))
    return found if len(found) == len(places) else []


def _as_boxes(turn: Tensor) -> Tensor:
    """Return (..., 4) of rotations (..., 3, 3) in the axes of a hand: the same where a box looks the same.

    An axis of the box points to x + iy in the plane that the hand looks at, at an angle psi there. (x + iy)^2 is the
    same for the axis and its opposite; the sum of (x + iy)^4 over the three axes is so for every quarter turn, and
    about 2 exp(4 i psi) where one of them points to the hand. How far fingers have to turn to be along a side is
    smooth in these, and jumps four times a turn in angles, which networks learn late.
    """
    x, y = turn[..., 0, :], turn[..., 1, :]  # (..., 3) of each axis
    real, imaginary = x.square() - y.square(), 2 * x * y  # of the square
    quarter = ((real.square() - imaginary.square()).sum(-1), (2 * real * imaginary).sum(-1))
    return torch.stack((real[..., 0], imaginary[..., 0], *quarter), -1)
