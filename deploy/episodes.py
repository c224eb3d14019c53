"""Episodes on a robot: run the pilot until success or time is up; and what came of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .controller import Controller
from .operator import RESET, RESTARTED, Operator
from .pace import Pace
from .supervisor import State

ESTOP, STOPPED, INTERRUPTED = "emergency stop", "stopped", "interrupted"
"""Why an episode is over that tells nothing of the policy."""
_REST_WITHIN = 1.0  # seconds


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        seed: that it was to begin with.
        success: as the robot or a person tells; None where nobody does, and where the policy was stopped by others.
        seconds: that it took.
        why: it ended.
        told: what the policy was told at its end; None of one that takes no instructions.
    """

    seed: int
    success: bool | None
    seconds: float
    why: str
    told: str | None = None


def run_episode(
    controller: Controller,
    operator: Operator,
    pace: Pace,
    seed: int,
    seconds: float,
    done: list[Episode],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run one episode in this thread, and add it to those that are done, also where it is interrupted.

    Args:
        controller: of the robot.
        operator: who resets it.
        pace: of control periods.
        seed: to begin with, of a robot that takes one.
        seconds: that it lasts at most.
        done: episodes so far.
        clock: seconds, steady.

    Raises:
        LaminarError: the robot cannot be started.
    """
    operator.start(seed)
    begun, why = clock(), INTERRUPTED
    seen = controller.perception.last
    pace.start(begun if seen is None else seen.arrival + controller.period)  # when the next observation should come
    try:
        why = _until_over(controller, operator, pace, begun + seconds, clock) or f"{seconds:g} s are over"
    finally:
        took = clock() - begun
        come_to_rest(controller, pace, why, clock)
        operator.stop(why)
        judged = why not in (INTERRUPTED, ESTOP, STOPPED, RESET, RESTARTED) and not controller.dry_run
        told = None if operator.told is None else operator.told.words
        done.append(Episode(seed, operator.success if judged else None, took, why, told))


def come_to_rest(controller: Controller, pace: Pace, why: str, clock: Callable[[], float] = time.monotonic) -> None:
    """Command what moves nothing, within the limits, until that is so; a base would drive on with its last velocity."""
    controller.supervisor.settle(why)
    until = clock() + _REST_WITHIN
    while controller.supervisor.state in (State.ARMED, State.HOLD) and clock() < until:
        pace.wait()
        controller.tick()
        if controller.resting:
            return


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
        if operator.ended:
            return operator.ended
        if state is State.ESTOP:
            return ESTOP
        if state is State.IDLE:
            return STOPPED
    return ""
