"""What a command told a robot: the numbers of an output, read back from its message."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .description import Output, Part
from .messages import Message
from .values import numbers


def told(output: Output, message: Message) -> NDArray[Any]:
    """Return the numbers (n,) that a message tells an output, float64; of a trajectory its first point's.

    Raises:
        LaminarError: the message lacks one of its names, or has numbers that are none.
    """
    part = Part(output.topic, output.field, output.names, output.euler)
    if "points" not in message:
        return numbers(part, message)
    points: list[Message] = message["points"]
    if not points:
        raise LaminarError(f"{output.topic}: a trajectory without points")
    name = output.field.rpartition(".")[2]
    name = name if name in points[0] else "positions"
    first = {"joint_names": message["joint_names"], name: np.asarray(points[0][name])}
    return numbers(Part(output.topic, name, output.names), first)
