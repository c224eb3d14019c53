"""The other side of a description: the messages that a robot sends, and the action in the commands that it gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .commanded import told
from .description import AXES, Camera, Part, Robot
from .messages import Message, Types, stamped
from .values import quaternion_of

Array = NDArray[Any]


def shown_by(robot: Robot, types: Types, observation: Mapping[str, Array], now: float) -> dict[str, Message]:
    """Return topic -> message that say an observation; keys that it lacks are left out.

    Args:
        robot: whose topics.
        types: of their messages.
        observation: key -> (n,) or (height, width, 3) uint8.
        now: seconds, of the stamps.
    """
    found: dict[str, Message] = {}
    for key, shown in robot.observation.items():
        if key not in observation:
            continue
        if isinstance(shown, Camera):
            found[shown.topic] = _picture(observation[key])
            continue
        place = 0
        for part in shown:
            _say(found.setdefault(part.topic, {}), part, observation[key][place : place + part.width])
            place += part.width
    for topic, message in found.items():
        kind = robot.types[topic]
        header = {"header": stamped(now)} if types.has_header(kind) else {}
        found[topic] = types.complete(kind, message | header)
    return found


def _picture(pixels: Array) -> Message:
    height, width, _ = pixels.shape
    return {"height": height, "width": width, "encoding": "rgb8", "step": 3 * width, "data": pixels.reshape(-1)}


def _say(message: Message, part: Part, values: Array) -> None:
    """Put the numbers of a part where `values.numbers` finds them."""
    values = np.asarray(values, np.float64) / part.scale
    *owners, name = part.field.split(".")
    owner = message
    for one in owners:
        owner = owner.setdefault(one, {})
    if part.euler:
        owner[name] = dict(zip(AXES[4], quaternion_of(values), strict=True))
    elif not owners and name in ("position", "velocity", "effort"):  # of a JointState, maybe of several parts
        message.setdefault("name", []).extend(part.names)
        message[name] = np.concatenate([message.get(name, np.zeros(0)), values])
    elif part.names in AXES.values():
        owner[name] = dict(zip(part.names, values, strict=True))
    else:
        owner[name] = values


def action_in(robot: Robot, messages: Mapping[str, Message]) -> Array:
    """Return the action (A,) that commands say: of a trajectory, its first point.

    Args:
        robot: whose outputs.
        messages: topic -> message, all of the robot's.

    Raises:
        LaminarError: a message does not have what it should; names topic and number.
    """
    return np.concatenate([told(output, messages[output.topic]) for output in robot.action])
