"""Whether the lines of a description agree with each other."""

from __future__ import annotations

from itertools import combinations

from ...errors import LaminarError
from .description import NAMED, TRAJECTORY, Output, Robot
from .names import BOOL, STRING, WHOLE

_ROLES = {
    "estop": BOOL,
    "success": BOOL,
    "seed": WHOLE,
    "start": WHOLE,
    "heartbeat": "",
    "instruction": STRING,
}
"""Roles that are topics, and the type that each has; "" is any."""


def check(robot: Robot) -> None:
    """Check what can be known without a robot.

    Raises:
        LaminarError: two lines contradict each other; names them.
    """
    for output in robot.action:
        _check_limits(robot, output)
    for one, other in combinations(robot.action, 2):
        if one.topic == other.topic:
            _check_together(robot, one, other)
    names = robot.action_names
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise _wrong(robot, f"'{twice[0]}' names two numbers of the action; give one output a `prefix`, such as left_")
    for role, kind in _ROLES.items():
        _check_role(robot, role, getattr(robot, role), kind)
    if robot.reset in robot.types and robot.reset:
        raise _wrong(robot, f"reset is a service, and {robot.reset} is among `topics`")
    _check_watch(robot)


def _wrong(robot: Robot, why: str) -> LaminarError:
    return LaminarError(f"{robot.source}: {why}")


def _check_limits(robot: Robot, output: Output) -> None:
    infinite = (float("inf"),) * output.width
    lows, highs = output.low or tuple(-x for x in infinite), output.high or infinite
    rests = output.rest or (None,) * output.width
    for name, low, high, rest in zip(output.names, lows, highs, rests, strict=True):
        what = f"{name} of {output.topic}"
        if low > high:
            raise _wrong(robot, f"{what}: low is {low:g}, above high, {high:g}")
        if rest is not None and not low <= rest <= high:
            raise _wrong(robot, f"{what}: rest is {rest:g}, outside of {low:g} to {high:g}")


def _check_together(robot: Robot, one: Output, other: Output) -> None:
    """Check two outputs of one topic, which become one message."""
    kind = robot.types[one.topic]
    short, long = sorted((f"{one.field}.", f"{other.field}."), key=len)
    if kind == TRAJECTORY or long.startswith(short) or (kind in NAMED and one.names != other.names):
        raise _wrong(robot, f"two outputs tell '{other.field}' of {one.topic}; make one of them, with all names")
    if one.frame and other.frame and one.frame != other.frame:
        raise _wrong(robot, f"{one.topic} has one header, with the frame '{one.frame}' or '{other.frame}'")


def _check_role(robot: Robot, role: str, topic: str, kind: str) -> None:
    if not topic:
        return
    if topic not in robot.types:
        wanted = f", as {kind}" if kind else ""
        raise _wrong(robot, f"{role}: {topic} is not among `topics`; add it{wanted}")
    if kind and robot.types[topic] != kind:
        raise _wrong(robot, f"{role}: {topic} carries {robot.types[topic]}, not {kind}")


def _check_watch(robot: Robot) -> None:
    watch, period = robot.watch, 1.0 / robot.rate_hz
    beaten = {"arrival": max(watch.arrival, watch.stamp), "actions": watch.actions, "transport": watch.transport}
    for name, limit in beaten.items():  # once a control period
        if limit <= period:
            raise _wrong(
                robot, f"watch.{name} is {limit:g} s and a control period {period:g} s: it would always stop the robot"
            )
