"""The other side of a description: the messages that a robot sends, and the action in the commands that it gets."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .commanded import told
from .description import Camera, Robot
from .messages import Message, Types, stamped
from .placing import put
from .values import message_of

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
            found[shown.topic] = _picture(robot.types[shown.topic], observation[key])
            continue
        place = 0
        for part in shown:
            message, values = found.setdefault(part.topic, {}), observation[key][place : place + part.width]
            put(types, robot.types[part.topic], part, values, message)
            place += part.width
    for topic, message in found.items():
        kind = robot.types[topic]
        header = {"header": stamped(now)} if types.has_header(kind) else {}
        found[topic] = types.complete(kind, message | header)
    return found


def _picture(kind: str, pixels: Array) -> Message:
    """Return a picture's message, without loss."""
    if kind.endswith("/CompressedImage"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        return {"format": "png", "data": file.getvalue()}
    height, width, _ = pixels.shape
    return {"height": height, "width": width, "encoding": "rgb8", "step": 3 * width, "data": pixels.reshape(-1)}


def action_in(robot: Robot, messages: Mapping[str, Message]) -> Array:
    """Return the action (A,) that commands say: of a trajectory, its first point.

    Args:
        robot: whose outputs.
        messages: topic -> message, all of the robot's.

    Raises:
        LaminarError: a message is missing, or does not have what it should; names topic and number.
    """
    return np.concatenate([told(output, message_of(messages, output.topic)) for output in robot.action])
