"""What a command may be: inside its limits, and on a way on which every later command can be inside them too."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """Limits of the A numbers of a command, each (A,), in the command's own units; infinite where there is none.

    For a command that is a pose, low and high of its position are the workspace box.

    Attributes:
        low, high: of positions.
        velocity: largest change a second.
        acceleration: largest change of the velocity a second.
        names: of the numbers, for messages.
    """

    low: Vector
    high: Vector
    velocity: Vector
    acceleration: Vector
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that a robot at rest within them may stay there.

        Raises:
            LaminarError: names the number whose limits contradict each other.
        """
        shapes = {np.shape(limit) for limit in (self.low, self.high, self.velocity, self.acceleration)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise LaminarError(f"limits need one number for each of a command, got shapes {sorted(shapes)}")
        for index, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not low <= high:
                raise LaminarError(f"{self.name(index)}: the lower limit {low:g} is above the upper one, {high:g}")
        for what, values in (("velocity", self.velocity), ("acceleration", self.acceleration)):
            if not (values > 0).all():
                raise LaminarError(f"limits of {what} must be above 0")

    def name(self, index: int) -> str:
        """Return what a number is called."""
        return self.names[index] if index < len(self.names) else f"command[{index}]"

    def velocities(self, position: Vector, velocity: Vector, period: float) -> tuple[Vector, Vector]:
        """Return the lowest and highest velocity (A,) of the next period.

        Those are within the limits, reached from `velocity` by an allowed acceleration, and low enough to come to rest
        inside the limits of position afterwards. If `velocity` came out of here one period before, there always is one.
        Outside of the limits of position, the way back is free and the way on is not.

        Args:
            position: now.
            velocity: of the last period.
            period: seconds.
        """
        change = self.acceleration * period
        rising = _within_reach(self.high - position, self.acceleration, period)
        falling = _within_reach(position - self.low, self.acceleration, period)
        low = np.maximum(np.maximum(velocity - change, -self.velocity), -falling)
        high = np.minimum(np.minimum(velocity + change, self.velocity), rising)
        # thrown beyond all limits from outside: come to rest as fast as is allowed
        resting = np.clip(0.0, velocity - change, velocity + change)
        crossed = low > high
        return np.where(crossed, resting, low), np.where(crossed, resting, high)


def _within_reach(distance: Vector, acceleration: Vector, period: float) -> Vector:
    """Return the largest velocity from which one stops within `distance`, this period's way included.

    Braking takes a constant off the velocity each period: v T + (v - a T) T + (v - 2 a T) T + … <= distance. With n
    whole periods of braking that is (n + 1) v T - a T^2 n (n + 1) / 2; n is the largest for which the way that begins
    with v = n a T fits.
    """
    distance = np.maximum(distance, 0.0)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite limits
        unit = acceleration * period**2
        periods = np.floor((np.sqrt(1.0 + 8.0 * distance / unit) - 1.0) / 2.0)
        found = distance / ((periods + 1.0) * period) + acceleration * period * periods / 2.0
    found = np.where(np.isinf(acceleration), distance / period, found)
    return np.where(np.isinf(distance), np.inf, found)


class SafetyFilter:
    """Turns what a policy wants into positions that can be commanded, one each period.

    It begins at the measured pose and at rest, so that the first command is near it, whatever the policy says.

    Attributes:
        limits: of positions and how fast they change.
        period: seconds between commands.
        cut: control steps in which something was cut off.
    """

    def __init__(self, limits: Limits, period: float) -> None:
        """Command nothing before `start`.

        Raises:
            LaminarError: a period of nothing.
        """
        if not 0 < period < np.inf:
            raise LaminarError(f"the period must be above 0 s, got {period:g}")
        self.limits, self.period, self.cut = limits, period, 0
        self._position: Vector | None = None
        self._velocity = np.zeros_like(limits.low)

    def start(self, measured: Vector) -> None:
        """Begin at rest at a measured pose (A,).

        Raises:
            LaminarError: it is not finite, or of another width.
        """
        self._position = self._finite(measured, "the measured pose").copy()
        self._velocity = np.zeros_like(self._position)

    def command(self, wanted: Vector) -> Vector:
        """Return the command (A,) of this period for what is wanted.

        Raises:
            LaminarError: what is wanted is not finite or of another width, or nothing was started. Nothing changes, and
                there is no command.
        """
        position = self._started()
        wanted = self._finite(wanted, "the command")
        low, high = self.limits.velocities(position, self._velocity, self.period)
        with np.errstate(over="ignore"):  # of two huge numbers
            velocity = np.clip((wanted - position) / self.period, low, high)
        return self._move(position, velocity, wanted)

    def ahead(self, wanted: Vector) -> Vector:
        """Return (n, A) what the next commands would be for what is wanted (n, A), and command nothing.

        Raises:
            LaminarError: as `command` does.
        """
        trial = copy(self)
        return np.array([trial.command(one) for one in wanted]).reshape(len(wanted), len(self.limits.low))

    def halt(self) -> Vector:
        """Return the command (A,) that comes to rest as fast as the limits allow."""
        position = self._started()
        low, high = self.limits.velocities(position, self._velocity, self.period)
        return self._move(position, np.clip(0.0, low, high), position)

    @property
    def resting(self) -> bool:
        """Whether the last command was the one before."""
        return not self._velocity.any()

    def _move(self, position: Vector, velocity: Vector, wanted: Vector) -> Vector:
        """Go on with a velocity; limits hold for what was rounded too."""
        inside = (position >= self.limits.low) & (position <= self.limits.high)
        reached = position + velocity * self.period
        reached = np.where(inside, np.clip(reached, self.limits.low, self.limits.high), reached)
        if not np.isfinite(reached).all():
            raise LaminarError("the command overflows; give limits of position, velocity or acceleration")
        self.cut += not np.allclose(reached, wanted, rtol=1e-9, atol=1e-12)
        self._position, self._velocity = reached, velocity
        return reached.copy()

    def _started(self) -> Vector:
        if self._position is None:
            raise LaminarError("the safety filter was not started: tell it the measured pose first")
        return self._position

    def _finite(self, values: Vector, what: str) -> Vector:
        values = np.asarray(values, np.float64)
        if values.shape != self.limits.low.shape:
            raise LaminarError(f"{what} has shape {values.shape}, expected {self.limits.low.shape}")
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            index = int(wrong[0])
            raise LaminarError(f"{what} is not finite: {self.limits.name(index)} is {values[index]}")
        return values
