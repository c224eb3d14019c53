"""A robot's messages of one instant as the observation of a policy, and as the pose that its commands would have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .description import Camera, Output, Robot
from .messages import Message
from .values import message_of, numbers, picture

Array = NDArray[Any]


def observation_of(robot: Robot, messages: Mapping[str, Message]) -> dict[str, Array]:
    """Return key -> (n,) float32, or (height, width, 3) uint8.

    Args:
        robot: whose description says what comes from where.
        messages: topic -> message.

    Raises:
        LaminarError: a message does not have what it should; names topic and number.
    """
    found: dict[str, Array] = {}
    for key, shown in robot.observation.items():
        if isinstance(shown, Camera):
            found[key] = picture(shown, message_of(messages, shown.topic))
        else:
            parts = [numbers(part, message_of(messages, part.topic)) for part in shown]
            found[key] = np.concatenate(parts).astype(np.float32)
    return found


def measured_pose(robot: Robot, messages: Mapping[str, Message], before: Array | None = None) -> Array:
    """Return (A,) what a command that moves nothing would be: where the robot is, or what brings it to rest.

    Args:
        robot: whose outputs say which.
        messages: topic -> message.
        before: the last command (A,), for numbers that rest where they are; None takes what is measured for them, and 0
            where they are measured nowhere.

    Raises:
        LaminarError: a message does not have what it should.
    """
    parts: list[Array] = []
    place = 0
    for output in robot.action:
        if output.positions:
            parts += [numbers(part, message_of(messages, part.topic)) for part in output.measured]
        else:
            last = None if before is None else before[place : place + output.width]
            parts.append(_resting(output, messages, last))
        place += output.width
    return np.concatenate(parts)


def _resting(output: Output, messages: Mapping[str, Message], last: Array | None) -> Array:
    """Return (n,) what brings an output to rest."""
    rest = np.array([np.nan if x is None else x for x in output.rest])
    kept = np.isnan(rest)
    if last is not None:
        return np.where(kept, last, rest)
    measured = [numbers(part, message_of(messages, part.topic)) for part in output.measured]
    rest[kept] = np.concatenate(measured) if measured else 0.0
    return rest
