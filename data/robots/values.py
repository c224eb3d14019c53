"""What a message of a robot says: the numbers of a part, found by their names, or the picture of a camera."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import LaminarError, nearest
from .description import AXES, Camera, Part, axes_of
from .messages import Message

Array = NDArray[Any]
_COLORS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
    "8UC3": (3, (2, 1, 0)),
}
"""Encoding -> bytes of a pixel, and where red, green and blue are."""
_MODES = ("RGB", "RGBA", "L", "P", "CMYK", "YCbCr")  # of Pillow, of 8 bits a color
_MOST = float(np.finfo(np.float32).max)
_UNIT = 0.1  # that the length of a quaternion may be off 1


def message_of(messages: Mapping[str, Message], topic: str) -> Message:
    """Return the message of a topic.

    Raises:
        LaminarError: there is none.
    """
    if topic not in messages:
        raise LaminarError(f"no message of {topic} (there are those of {', '.join(sorted(messages)) or 'no topic'})")
    return messages[topic]


def numbers(part: Part, message: Message) -> Array:
    """Return the numbers (n,) of a part, float64.

    Raises:
        LaminarError: the message lacks one of its names, has fewer or more numbers, or one that is not finite, or so
            large that a policy's float32 is not.
    """
    found = _found(part, message)
    if part.euler and np.isfinite(found).all():
        found = euler_angles(found, part.topic)
    values = part.scale * found
    wrong = np.flatnonzero(~(np.abs(values) <= _MOST))
    if len(wrong):
        names = AXES[4] if len(values) > part.width else part.labels
        raise LaminarError(f"{part.topic}: {names[wrong[0]]} is {values[wrong[0]]}")
    return values


def _found(part: Part, message: Message) -> Array:
    value: Any = message
    for name in part.field.split("."):
        if not isinstance(value, Mapping) or name not in value:
            hint = nearest(name, value) if isinstance(value, Mapping) else ""
            raise LaminarError(f"{part.topic}: its messages have no field '{part.field}'{hint}")
        value = value[name]
    own = message.get("name", message.get("joint_names"))
    if isinstance(own, list) and isinstance(value, np.ndarray):
        return _by_name(part, own, value)
    if isinstance(value, Mapping):
        axes = AXES.get(len(value), ())
        value = [value[axis] for axis in axes_of(() if part.euler else part.names, axes) if {*value} == {*axes}]
    try:
        array = np.atleast_1d(np.asarray(value, np.float64))
    except (TypeError, ValueError, OverflowError) as error:
        raise LaminarError(f"{part.topic}: '{part.field}' is no number and no sequence of numbers") from error
    width = 4 if part.euler else part.width
    if array.shape != (width,):
        raise LaminarError(f"{part.topic}: '{part.field}' has shape {array.shape}, expected ({width},)")
    return array


def _by_name(part: Part, own: Sequence[str], value: Array) -> Array:
    if len(own) != len(value):
        raise LaminarError(f"{part.topic}: {len(own)} names for {len(value)} numbers of '{part.field}'")
    place = {name: index for index, name in enumerate(own)}
    for name in part.names:
        if name not in place:
            raise LaminarError(f"{part.topic}: '{name}' is missing (it has {', '.join(own) or 'no names'})")
        if own.count(name) > 1:
            raise LaminarError(f"{part.topic}: '{name}' is there {own.count(name)} times")
    return np.array([value[place[name]] for name in part.names], np.float64)


def euler_angles(quaternion: Array, topic: str = "") -> Array:
    """Return fixed-axis roll, pitch and yaw (3,) in radians of a quaternion (x, y, z, w).

    Where pitch is a right angle, roll and yaw turn around the same axis: yaw is 0 then.

    Raises:
        LaminarError: it is none: its length is not about 1.
    """
    length = float(np.linalg.norm(np.clip(quaternion, -2.0, 2.0)))
    if abs(length - 1.0) > _UNIT:
        raise LaminarError(f"{topic}: the orientation {np.round(quaternion, 3).tolist()} is no quaternion of length 1")
    x, y, z, w = quaternion / length
    sine = 2 * (w * y - z * x)
    if abs(sine) > 1 - 1e-12:
        return np.array([2 * np.arctan2(x, w), np.copysign(np.pi / 2, sine), 0.0])
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return np.array([roll, np.arcsin(sine), yaw])


def quaternion_of(angles: Sequence[float] | Array) -> Array:
    """Return the quaternion (x, y, z, w) of fixed-axis roll, pitch and yaw in radians."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(np.asarray(angles) / 2), np.sin(np.asarray(angles) / 2)
    x, y = sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy
    return np.array([x, y, cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy])


def picture(camera: Camera, message: Message) -> Array:
    """Return the picture (height, width, 3) uint8, RGB, of an Image or a CompressedImage.

    Raises:
        LaminarError: it is damaged, of another encoding, or of another size and not to be resized.
    """
    shown = _decompressed(camera, message) if "format" in message else _raw(camera, message)
    if shown.shape[:2] == (camera.height, camera.width):
        return shown
    if not camera.resize:
        raise LaminarError(
            f"{camera.topic}: pictures are {shown.shape[0]} x {shown.shape[1]}, expected {camera.height} x "
            f"{camera.width}; set the camera so, or give it `resize: true`"
        )
    return np.array(Image.fromarray(shown).resize((camera.width, camera.height), Image.Resampling.BILINEAR))


def _decompressed(camera: Camera, message: Message) -> Array:
    try:
        with Image.open(io.BytesIO(message["data"].tobytes()), formats=("JPEG", "PNG", "WEBP")) as image:
            if image.mode in _MODES:
                return np.array(image.convert("RGB"))
            mode = image.mode
    except Exception as error:  # of bytes from anywhere Pillow raises a dozen kinds
        raise LaminarError(f"{camera.topic}: a picture of format {message['format']!a:.40} is damaged") from error
    raise LaminarError(f"{camera.topic}: pictures have the mode {mode} of Pillow, not 8 bits a color")


def _raw(camera: Camera, message: Message) -> Array:
    encoding = message["encoding"]
    if encoding not in _COLORS:
        raise LaminarError(f"{camera.topic}: pictures are encoded as {encoding!a:.40} (known: {', '.join(_COLORS)})")
    depth, order = _COLORS[encoding]
    height, width, step, data = message["height"], message["width"], message["step"], message["data"]
    if not height * width or step < width * depth or len(data) != height * step:
        raise LaminarError(f"{camera.topic}: {len(data)} bytes are no {height} x {width} picture of {encoding}")
    rows = data.reshape(height, step)[:, : width * depth].reshape(height, width, depth)
    return np.ascontiguousarray(rows[:, :, order])
