"""Numbers put into messages, where `values.numbers` finds them: by a robot that is simulated, and by commands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .description import AXES, TRAJECTORY, Part, Robot, axes_of
from .messages import Message, Types
from .values import quaternion_of

Array = NDArray[Any]
_FLOATS = ("float32", "float64")


def put(types: Types, kind: str, part: Part, numbers: Array, message: Message) -> None:
    """Put the numbers (n,) of a part into a message of a type, which may have those of others already.

    Whole numbers, true and false are rounded to.

    Raises:
        LaminarError: the type has no such field, or it does not take so many numbers; names both.
    """
    values = np.asarray(numbers, np.float64) / part.scale
    node, element = _field(types, kind, part)
    if node != "NAME" and element not in _FLOATS:
        values = np.rint(values).astype(np.int64)
    own = _own_names(types, kind)
    if own and node == "SEQUENCE" and "." not in part.field:
        _put_by_name(message, own, part, values)
        return
    *owners, name = part.field.split(".")
    for owner in owners:
        message = message.setdefault(owner, {})
    if node == "NAME":
        axes = AXES[4] if part.euler else axes_of(part.names, AXES[part.width])
        message[name] = dict(zip(axes, (quaternion_of(values) if part.euler else values).tolist(), strict=True))
    else:
        message[name] = values[0].item() if node == "BASE" else values


def check_floats(types: Types, kind: str, part: Part) -> None:
    """Check that a field takes every number that a policy may want, and not whole ones alone.

    Raises:
        LaminarError: it does not; names it.
    """
    node, element = _field(types, kind, part)
    if node != "NAME" and element not in _FLOATS:
        raise LaminarError(
            f"{part.topic}: '{part.field}' of {kind} holds {element}, and a policy's numbers are no whole ones; "
            "take a topic of floats"
        )


def check_fields(robot: Robot, topic: str, types: Types) -> None:
    """Check the fields of a topic that a description names against the topic's type.

    Raises:
        LaminarError: the type has no such field, or it holds no numbers, not so many, or whole ones only where a
            command goes; names it.
    """
    kind = robot.types[topic]
    for part in robot.parts():
        if part.topic == topic:
            _field(types, kind, part)
    for output in robot.action:
        if output.topic == topic and kind == TRAJECTORY:
            part = replace(output.part, field=output.field.rpartition(".")[2])
            check_floats(types, "trajectory_msgs/msg/JointTrajectoryPoint", part)
        elif output.topic == topic:
            check_floats(types, kind, output.part)


def _field(types: Types, kind: str, part: Part) -> tuple[str, str]:
    """Return the node of a part's field, as rosbags calls it, and what its elements are."""
    fields: dict[str, Any] = types.fields(kind)
    node, inside, element = "", (), ""
    for name in part.field.split("."):
        if name not in fields:
            raise LaminarError(f"{part.topic}: {kind} has no field '{part.field}'")
        description = fields[name]
        node, element = description[0].name, description[1][0]
        fields = types.fields(description[1]) if node == "NAME" else {}
        inside = tuple(fields)
        if node in ("SEQUENCE", "ARRAY"):
            element = element[1][0] if element[0].name == "BASE" else "messages"
    wide = {"BASE": part.width == 1, "NAME": inside == AXES[4] if part.euler else inside == AXES.get(part.width)}
    if not wide.get(node, True) or element in ("string", "messages") or (part.euler and node != "NAME"):
        raise LaminarError(f"{part.topic}: '{part.field}' of {kind} does not take {part.width} numbers")
    return node, element


def _own_names(types: Types, kind: str) -> str:
    """Return the field in which messages of a type name their numbers; "" where they do not."""
    fields = types.fields(kind)
    for name in ("name", "joint_names"):
        if name in fields and fields[name][0].name == "SEQUENCE" and fields[name][1][0][1][0] == "string":
            return name
    return ""


def _put_by_name(message: Message, own: str, part: Part, values: Array) -> None:
    """Put numbers beside those of other parts; numbers that no part has are 0."""
    names: list[str] = message.setdefault(own, [])
    names += [name for name in part.names if name not in names]
    message.setdefault(part.field, np.zeros(0))
    for field, array in message.items():
        if isinstance(array, np.ndarray):
            message[field] = np.concatenate([array, np.zeros(len(names) - len(array))])
    message[part.field][[names.index(name) for name in part.names]] = values
