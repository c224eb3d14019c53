"""Commands put together to actions, at the robot's rate."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..robots.description import Robot
from .told import Command, Told

Array = NDArray[Any]
_RARE = 0.8  # of the most frequent topic's commands: a topic with fewer is one whose last command holds
_TOGETHER = 0.75  # of the usual time between commands: parts of one action come closer to each other
_STEADY = (0.8, 1.25)  # of the robot's period, what counts as its rate


@dataclass(frozen=True)
class Act:
    """An action.

    Attributes:
        place: number of the message after which the observation is taken.
        seconds: when.
        values: (A,).
        instant: of the robot's clock, what it was computed from; None where nobody marked it.
    """

    place: int
    seconds: float
    values: Array
    instant: float | None = None


def assemble(robot: Robot, told: Told, remarks: list[str]) -> list[Act]:
    """Return an action for each time that every topic has told its part.

    A topic with fewer commands than others, such as a gripper's that is told changes only, counts until its next one.
    """
    counts = {topic: told.counts[topic] for topic in robot.command_topics()}
    leading = [topic for topic, count in counts.items() if count >= _RARE * max(counts.values())]
    for topic in counts:
        if topic not in leading:
            remarks.append(
                f"{topic} has {counts[topic]} commands for {counts[leading[0]]} of {leading[0]}: each counts until the "
                "next one"
            )
    usual = _usual([told.seconds(one.place) for one in told.commands if one.topic == leading[0]])
    together = _TOGETHER * usual or np.inf
    acts: list[Act] = []
    newest: dict[str, Command] = {}
    used = -1  # place of the last action
    for command in told.commands:
        newest[command.topic] = command
        if command.topic not in leading or len(newest) < len(counts):
            continue
        oldest = min(newest[topic].place for topic in leading)
        if oldest <= used or told.seconds(command.place) - told.seconds(oldest) > together:
            continue
        values = np.concatenate(_in_order(robot, newest))
        acts.append(Act(command.place, told.seconds(command.place), values, _mark(told, used, command.place)))
        used = command.place
    return acts


def _in_order(robot: Robot, newest: dict[str, Command]) -> list[Array]:
    """Return each output's part; outputs of one topic lie behind each other in its command."""
    taken = dict.fromkeys(newest, 0)
    parts: list[Array] = []
    for output in robot.action:
        first = taken[output.topic]
        taken[output.topic] += output.width
        parts.append(newest[output.topic].values[first : first + output.width])
    return parts


def _mark(told: Told, after: int, before: int) -> float | None:
    """Return the instant that was marked last between two places."""
    index = bisect_left(told.observed, (before, -np.inf)) - 1
    return told.observed[index][1] if index >= 0 and told.observed[index][0] > after else None


def at_rate(robot: Robot, told: Told, parts: Sequence[list[Act]], remarks: list[str]) -> list[list[Act]]:
    """Return stretches of actions at the robot's rate: as they are where they have it, else the newest of each period.

    Raises:
        LaminarError: they are changes a control period, which have a meaning at their own rate only.
    """
    period = 1 / robot.rate_hz
    usual = _usual([act.seconds for part in parts for act in part])
    if len(parts) == 0 or usual == 0 or _STEADY[0] * period <= usual <= _STEADY[1] * period:
        return list(parts)
    if robot.units.get("action") == "relative":
        raise LaminarError(
            f"actions come at {1 / usual:.4g} Hz, and robot {robot.name} ({robot.source}) has rate_hz: "
            f"{robot.rate_hz:g}; they are changes a control period: describe the rate that they were recorded at"
        )
    kind = "newest of each period is taken" if usual < period else "last one is held"
    remarks.append(f"actions come at {1 / usual:.4g} Hz, the robot's rate is {robot.rate_hz:g}: the {kind}")
    return [_resampled(told, part, period) for part in parts]


def _resampled(told: Told, part: list[Act], period: float) -> list[Act]:
    begin = part[0].seconds
    seconds = [act.seconds for act in part]
    found: list[Act] = []
    for number in range(int((seconds[-1] - begin) / period + 1e-6) + 1):
        at = begin + number * period
        newest = part[bisect_left(seconds, at + period - 1e-6) - 1]
        if newest.seconds < at - 1e-6:  # none in this period
            place = bisect_left(told.times, told.times[0] + round(at * 1e9), part[0].place, part[-1].place) - 1
            newest = replace(newest, place=place, seconds=at, instant=None)
        found.append(newest)
    return found


def _usual(seconds: Sequence[float]) -> float:
    return float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
