"""Where poses are among the numbers of observations: found by the names that a Spec has for these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ....data.spec import Spec

GOAL = "goal"
"""The observation that is a state to be reached; zeros where none is told."""
_POSITION, _ANGLES = ("x", "y", "z"), ("roll", "pitch", "yaw")


@dataclass(frozen=True)
class Place:
    """Three numbers of one observation that follow each other.

    Attributes:
        key: of the observation.
        at: the first of them.
        name: of what is there, without an axis: "red" of "red_x", the key where there is no more to the name.
    """

    key: str
    at: int
    name: str

    def in_goal(self, spec: Spec) -> Place | None:
        """Return where a goal has the same three numbers: one that is a state of this observation, as its unit says."""
        goal = spec.observation.get(GOAL)
        return None if goal is None or goal.unit != self.key else Place(GOAL, self.at, self.name)

    @property
    def numbers(self) -> range:
        """Which numbers of the observation they are."""
        return range(self.at, self.at + 3)

    def of(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return the three numbers (..., 3)."""
        return observation[self.key][..., self.at : self.at + 3]


def positions(spec: Spec) -> list[Place]:
    """Return all positions: three numbers of a vector called x, y and z, or the same after one prefix (`red_x`)."""
    return list(_places(spec, _POSITION))


def angles(spec: Spec) -> list[Place]:
    """Return all rotations as roll, pitch and yaw, named as positions are."""
    return list(_places(spec, _ANGLES))


def _places(spec: Spec, axes: tuple[str, ...]) -> Iterator[Place]:
    for key, feature in spec.observation.items():
        if len(feature.shape) != 1 or len(feature.names) != feature.width:
            continue
        for at, name in enumerate(feature.names):
            prefix = name.removesuffix(axes[0])
            if feature.names[at : at + 3] == tuple(prefix + axis for axis in axes):
                yield Place(key, at, prefix.strip("_./ ") or key)


def rotation(euler: Tensor) -> Tensor:
    """Return matrices (..., 3, 3) of roll, pitch and yaw (..., 3): radians about the fixed axes x, then y, then z."""
    (cr, cp, cy), (sr, sp, sy) = euler.cos().unbind(-1), euler.sin().unbind(-1)
    rows = (
        torch.stack((cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr), -1),
        torch.stack((sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr), -1),
        torch.stack((-sp, cp * sr, cp * cr), -1),
    )
    return torch.stack(rows, -2)


def turned(now: Tensor, then: Tensor) -> Tensor:
    """Return (..., 6) of how to turn from rotations (..., 3) to others, roll, pitch and yaw: zeros for not at all.

    Two columns of the matrix that leads from the one to the other, in the axes of the first, less those of no turn.
    """
    columns = (rotation(now).mT @ rotation(then))[..., :2]
    return (columns - torch.eye(3, 2, dtype=columns.dtype, device=columns.device)).flatten(-2)


def is_told(observation: Mapping[str, Tensor]) -> Tensor:
    """Return (..., 1), 1 where a goal is told and 0 where it is zeros."""
    goal = observation[GOAL]
    return (goal.abs().amax(-1, keepdim=True) > 0).to(goal.dtype)
