"""The hand that scripted experts move: each motion is a generator of relative actions, one a control step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..kinematics import euler_to_matrix, matrix_to_euler
from ..physics import ROTATION, TRANSLATION
from ..seen import SeenRoom

Array = NDArray[Any]
Motion = Iterator[Array]  # actions (7,) in [-1, 1]; the receiver executes each one before it asks for the next

OPEN, CLOSED = 1.0, -1.0
# Share of the remaining way that one action asks for. The commanded pose integrates the actions and the arm follows it
# with 20/s, so that this is about critical damping: the hand slows down before the goal and does not swing.
_GAIN = 0.15


class Hand:
    """Moves the gripper of a room by what it measures, never by what it commanded, so that a policy can do the same.

    Attributes:
        room: whose arm it moves; only read here.
        random: source of all variation.
        speed: largest action, drawn for each hand.
        gripper: OPEN or CLOSED, in every action.
        tilt: radians by which the finger tips lean towards +y, away from a hand that points down. What lies far from
            the robot can only be reached so.
        lean: radians by which a hand that points down is rolled about its own axis. Not 0: there the measured roll
            would jump between pi and -pi, and with it whatever a policy computes from it.
    """

    def __init__(self, room: SeenRoom, random: np.random.Generator) -> None:
        """Take the arm as it is, the gripper as last commanded."""
        self.room, self.random = room, random
        self.speed = float(random.uniform(0.7, 1.0))
        self.gripper = room.gripper
        self.tilt, self.lean = 0.0, 0.09

    @property
    def position(self) -> Array:
        """(3,) measured tool center point in meters."""
        return self.room.tcp()[0]

    @property
    def yaw(self) -> float:
        """Measured yaw in radians, whatever the tilt, without a jump near the neutral one: in [-π/2, 3π/2)."""
        x, y, z = euler_to_matrix(self.room.tcp()[1])[:, 0]
        return float(np.arctan2(np.copysign(np.hypot(y, z), y), x) + np.pi / 2) % (2 * np.pi) - np.pi / 2

    def go(
        self,
        position: ArrayLike,
        yaw: float | None = None,
        tolerance: float = 0.01,
        slow: float = 1.0,
        patience: int = 90,
    ) -> Motion:
        """Move in a straight line, pointing down except for `tilt`.

        Args:
            position: (3,) where to, meters.
            yaw: radians, or the one equal to it up to half a turn, as both fingers are alike; None keeps the present.
            tolerance: meters from the goal at which the motion ends.
            slow: share of the hand's speed.
            patience: control steps after which the motion ends anyway, for example against an obstacle.
        """
        goal = np.asarray(position, np.float64)
        yaw = self.yaw if yaw is None else comfortable(yaw, self.yaw)
        for _ in range(patience):
            if np.linalg.norm(goal - self.position) < tolerance and abs(_wrap(yaw - self.yaw)) < 0.08:
                return
            yield self.towards(goal, yaw, slow)

    def turn(self, yaw: float, tolerance: float = 0.04, patience: int = 90) -> Motion:
        """Turn the hand in place to a yaw in radians, the way that it says, not the shortest."""
        place = self.position
        for _ in range(patience):
            if abs(yaw - self.yaw) < tolerance:
                return
            yield self.towards(place, yaw)

    def open(self, steps: int = 10) -> Motion:
        """Open the fingers and hold still."""
        return self._set_gripper(OPEN, steps)

    def close(self, steps: int = 10) -> Motion:
        """Close the fingers and hold still."""
        return self._set_gripper(CLOSED, steps)

    def wait(self, steps: int) -> Motion:
        """Hold still."""
        place, yaw = self.position, self.yaw
        for _ in range(steps):
            yield self.towards(place, yaw)

    def _set_gripper(self, command: float, steps: int) -> Motion:
        self.gripper = command
        return self.wait(steps)

    def towards(self, position: Array, yaw: float, slow: float = 1.0) -> Array:
        """Return the action (7,) of this moment for a goal; the speed limit keeps the direction."""
        here, euler = self.room.tcp()
        limit = self.speed * slow
        shift = _GAIN * (position - here) / TRANSLATION
        shift *= min(1.0, limit / max(float(np.abs(shift).max()), 1e-9))
        turn = _GAIN * _wrap(self._euler(yaw) - euler) / ROTATION
        return np.array([*shift, *np.clip(turn, -limit, limit), self.gripper])

    def _euler(self, yaw: float) -> Array:
        """Return the fixed-axis angles (3,) of a hand that points down, leaning, turned by `yaw`, then tilted."""
        down = euler_to_matrix([np.pi - self.lean, 0.0, yaw])
        return matrix_to_euler(euler_to_matrix([self.tilt, 0.0, 0.0]) @ down)


def comfortable(yaw: float, present: float) -> float:
    """Return yaw plus that multiple of pi that the wrist reaches everywhere, near the present yaw; radians."""
    reference = min(max(present, 1.2), 2.0)
    return yaw + np.pi * round((reference - yaw) / np.pi)


def _wrap(angle: Any) -> Any:
    return (angle + np.pi) % (2 * np.pi) - np.pi
