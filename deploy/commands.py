"""Commands as a robot wants them: numbers of an action become the messages of its topics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data.robots.description import TRAJECTORY, Output, Robot
from ..data.robots.messages import Message, Types, stamped
from ..data.robots.placing import check_floats, put
from .safety import Limits

Vector = NDArray[np.float64]


def limits_of(robot: Robot) -> Limits:
    """Return the limits (A,) of a robot's commands, infinite where its description has none.

    Raises:
        LaminarError: they contradict each other; names the number.
    """
    infinite = float("inf")

    def each(name: str, missing: float) -> Vector:
        return np.array([x for out in robot.action for x in (getattr(out, name) or (missing,) * out.width)], np.float64)

    return Limits(
        each("low", -infinite),
        each("high", infinite),
        each("velocity", infinite),
        each("acceleration", infinite),
        robot.action_names,
    )


def check_outputs(robot: Robot, types: Types) -> None:
    """Check that every message of a robot can be made.

    Raises:
        LaminarError: a field does not exist, or does not take so many numbers, or whole ones only; names it.
    """
    for output in robot.action:
        if robot.types[output.topic] != TRAJECTORY:
            check_floats(types, robot.types[output.topic], output.part)
    messages_of(robot, types, np.zeros((1, len(robot.action_names))), 0.0)


def messages_of(robot: Robot, types: Types, commands: Vector, now: float) -> dict[str, Message]:
    """Return topic -> message for the command of this period.

    Args:
        robot: whose topics.
        types: of its messages.
        commands: (n, A), this period's and what follows, which trajectories show ahead.
        now: seconds, of the robot's clock.
    """
    found: dict[str, Message] = {}
    place = 0
    for output in robot.action:
        numbers = commands[:, place : place + output.width]
        place += output.width
        kind = robot.types[output.topic]
        message = found.setdefault(output.topic, {})
        if types.has_header(kind) and (output.frame or "header" not in message):
            message["header"] = stamped(now, output.frame)
        if kind == TRAJECTORY:
            message |= _trajectory(output, numbers, 1.0 / robot.rate_hz)
        else:
            put(types, kind, output.part, numbers[0], message)
    return {topic: types.complete(robot.types[topic], message) for topic, message in found.items()}


def _trajectory(output: Output, numbers: Vector, period: float) -> Message:
    """Return a short trajectory: one point a period, the first at the end of this one."""
    points = [
        {output.field.rpartition(".")[2]: row, "time_from_start": stamped((index + 1) * period)["stamp"]}
        for index, row in enumerate(numbers[: output.points])
    ]
    return {"joint_names": list(output.names), "points": points}
