"""What a message of a robot says: the numbers of a part, found by their names, or the picture of a camera."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ...errors import LaminarError, nearest
from .description import AXES, Camera, Part
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


def numbers(part: Part, message: Message) -> Array:
    """Return the numbers (n,) of a part, float64.

    Raises:
        LaminarError: the message lacks one of its names, has fewer or more numbers, or one that is not finite.
    """
    found = _found(part, message)
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        raise LaminarError(f"{part.topic}: {part.names[wrong[0]]} is {found[wrong[0]]}")
    values = euler_angles(found, part.topic) if part.euler else found
    return values if part.scale == 1.0 else part.scale * values


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
        value = [value[axis] for axis in axes if axis in value]
    array = np.atleast_1d(np.asarray(value, np.float64))
    width = 4 if part.euler else part.width
    if array.shape != (width,):
        raise LaminarError(f"{part.topic}: '{part.field}' has shape {array.shape}, expected ({width},)")
    return array


def _by_name(part: Part, own: Sequence[str], value: Array) -> Array:
    if len(own) != len(value):
        raise LaminarError(f"{part.topic}: {len(own)} names for {len(value)} numbers of '{part.field}'")
    place = {name: index for index, name in enumerate(own)}
    missing = [name for name in part.names if name not in place]
    if missing:
        raise LaminarError(f"{part.topic}: '{missing[0]}' is missing (it has {', '.join(own) or 'no names'})")
    return np.array([value[place[name]] for name in part.names], np.float64)


def euler_angles(quaternion: Array, topic: str = "") -> Array:
    """Return fixed-axis roll, pitch and yaw (3,) in radians of a quaternion (x, y, z, w).

    Raises:
        LaminarError: it is none: its length is 0.
    """
    length = float(np.linalg.norm(quaternion))
    if length < 1e-6:
        raise LaminarError(f"{topic}: the orientation is no quaternion, all of it is 0")
    x, y, z, w = quaternion / length
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = np.arcsin(np.clip(2 * (w * y - z * x), -1.0, 1.0))
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return np.array([roll, pitch, yaw])


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
    return np.asarray(Image.fromarray(shown).resize((camera.width, camera.height), Image.Resampling.BILINEAR))


def _decompressed(camera: Camera, message: Message) -> Array:
    try:
        with Image.open(io.BytesIO(message["data"].tobytes()), formats=("JPEG", "PNG", "WEBP")) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise LaminarError(f"{camera.topic}: a picture of format {message['format']!r:.40} is damaged") from error


def _raw(camera: Camera, message: Message) -> Array:
    encoding = message["encoding"]
    if encoding not in _COLORS:
        raise LaminarError(f"{camera.topic}: pictures are encoded as {encoding!r:.40} (known: {', '.join(_COLORS)})")
    depth, order = _COLORS[encoding]
    height, width, step, data = message["height"], message["width"], message["step"], message["data"]
    if step < width * depth or len(data) != height * step:
        raise LaminarError(f"{camera.topic}: {len(data)} bytes are no {height} x {width} picture of {encoding}")
    rows = data.reshape(height, step)[:, : width * depth].reshape(height, width, depth)
    return np.ascontiguousarray(rows[:, :, order])
