"""What a command told a robot: the numbers of an output, read back from its message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from ...errors import LaminarError
from .description import Output
from .messages import Message
from .values import numbers


def told(output: Output, message: Message) -> NDArray[Any]:
    """Return the numbers (n,) that a message tells an output, float64; of a trajectory its first point's.

    Raises:
        LaminarError: the message lacks one of its names, or has numbers that are none.
    """
    if "points" not in message:
        return numbers(output.part, message)
    points: list[Message] = message["points"]
    if not points:
        raise LaminarError(f"{output.topic}: a trajectory without points")
    part = replace(output.part, field=output.field.rpartition(".")[2])
    return numbers(part, {"joint_names": message["joint_names"]} | points[0])
