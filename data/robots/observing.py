"""A robot's messages of one instant as the observation of a policy, and as the pose that its commands would have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .description import Camera, Robot
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
        before: the last command (A,), for numbers that rest where they are; None is 0 for them.

    Raises:
        LaminarError: a message does not have what it should.
    """
    parts: list[Array] = []
    place = 0
    for output in robot.action:
        last = np.zeros(output.width) if before is None else before[place : place + output.width]
        if output.measured:
            parts += [numbers(part, message_of(messages, part.topic)) for part in output.measured]
        else:
            parts.append(np.array([x if rest is None else rest for rest, x in zip(output.rest, last, strict=True)]))
        place += output.width
    return np.concatenate(parts)
