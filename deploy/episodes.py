"""Episodes on a robot: run the pilot until success or time is up; and what came of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .controller import Controller
from .operator import Operator
from .pace import Pace
from .supervisor import State


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        seed: that it was to begin with.
        success: as the robot tells; None where it does not.
        seconds: that it took.
        why: it ended.
    """

    seed: int
    success: bool | None
    seconds: float
    why: str


def run_episode(
    controller: Controller,
    operator: Operator,
    pace: Pace,
    seed: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Episode:
    """Run one episode in this thread.

    Args:
        controller: of the robot.
        operator: who resets it.
        pace: of control periods.
        seed: to begin with, of a robot that takes one.
        seconds: that it lasts at most.
        clock: seconds, steady.

    Raises:
        LaminarError: the robot cannot be started.
    """
    operator.start(seed)
    begun = clock()
    seen = controller.perception.last
    pace.start(begun if seen is None else seen.arrival + controller.period)  # when the next observation should come
    why = _until_over(controller, operator, pace, begun + seconds, clock) or f"{seconds:g} s are over"
    operator.stop(why)
    return Episode(seed, operator.success, clock() - begun, why)


def _until_over(
    controller: Controller, operator: Operator, pace: Pace, until: float, clock: Callable[[], float]
) -> str:
    """Return why an episode is over; "" where its time is."""
    while clock() < until:
        pace.wait()
        sight = controller.look()
        state = controller.act(sight)
        if sight is not None and controller.perception.in_step(controller.period):
            pace.follow(sight.arrival)
        if operator.success:
            return "success"
        if operator.person.verdict is False:
            return "failure"
        if state is State.ESTOP:
            return "emergency stop"
        if state is State.IDLE:
            return "stopped"
    return ""
