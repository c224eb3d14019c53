"""What goes over a socket: maps of plain values and arrays as MessagePack, and nothing that could run anything.

An array is a map with the keys that openpi's clients and servers use, so that one codec speaks with both:
``{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [2, 3]}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import msgpack
import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError

PROTOCOL = 1
"""Version of what clients and servers say; one of another version is refused."""
_ARRAY, _DATA, _DTYPE, _SHAPE = b"__ndarray__", b"data", b"dtype", b"shape"
_SCALAR = b"__npgeneric__"
_KINDS = "biuf"  # booleans, whole numbers, floats: no objects, no structures, no text
_AXES = 32  # of an array, at most
_LONGEST = 8  # letters of a dtype
_WIDEST = 8  # bytes of a number


class WireError(LaminarError):
    """A frame that is no message."""


def pack(message: Mapping[str, Any]) -> bytes:
    """Return a message of plain values and arrays as one frame.

    Raises:
        WireError: it holds something else.
    """
    try:
        return cast(bytes, msgpack.packb(message, default=_packed, use_bin_type=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"this cannot be sent: {error}; give numbers, texts and arrays of numbers") from error


def unpack(frame: bytes | str) -> dict[str, Any]:
    """Return the message in a frame.

    Raises:
        WireError: it is no MessagePack, no map with texts as keys, or has something in it that is no plain value.
    """
    if isinstance(frame, str):
        raise WireError(f"got a text frame, and messages are binary: {_short(frame)}")
    try:
        message = msgpack.unpackb(frame, object_hook=_unpacked, ext_hook=_refused, raw=False, strict_map_key=False)
    except WireError:
        raise
    except Exception as error:  # of bytes from anywhere msgpack raises a dozen kinds
        raise WireError(f"got {len(frame)} bytes that are no message: {_short(str(error) or repr(error))}") from error
    if not isinstance(message, dict):
        raise WireError(f"a message is a map, got {type(message).__name__}")
    wrong = [key for key in message if not isinstance(key, str)]
    if wrong:
        raise WireError(f"a message has texts as keys, got {_short(repr(wrong[0]))}")
    return cast("dict[str, Any]", message)


def _packed(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
        if isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"a value of type {type(value).__name__}")
    if not isinstance(value, np.ndarray) or value.dtype.kind not in _KINDS:
        raise TypeError(f"a value of type {getattr(value, 'dtype', type(value).__name__)}")
    return {_ARRAY: True, _DATA: value.tobytes(), _DTYPE: value.dtype.str, _SHAPE: value.shape}


def _unpacked(value: dict[Any, Any]) -> Any:
    if _ARRAY in value:
        return _array(value)
    if _SCALAR in value:
        return value.get(_DATA)
    return value


def _array(value: dict[Any, Any]) -> NDArray[Any]:
    data, name, shape = (value.get(key) for key in (_DATA, _DTYPE, _SHAPE))
    if not (isinstance(data, bytes) and isinstance(name, str) and isinstance(shape, list)):
        raise WireError("an array lacks its data, dtype or shape")
    try:
        dtype = np.dtype(name[:_LONGEST])
    except (TypeError, ValueError, SyntaxError) as error:
        raise WireError(f"no array has the dtype {_short(name)}") from error
    sizes = cast("list[Any]", shape)
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.itemsize > _WIDEST:
        raise WireError(f"an array of dtype {_short(name)} is not taken, only numbers are")
    if len(sizes) > _AXES or not all(type(size) is int and size >= 0 for size in sizes):
        raise WireError(f"an array cannot have the shape {_short(repr(sizes))}")
    if math.prod(sizes) * dtype.itemsize != len(data):
        raise WireError(f"an array of shape {_short(repr(sizes))} and dtype {name} does not have {len(data)} bytes")
    array = np.frombuffer(data, dtype).reshape(sizes)
    return array.astype(dtype.newbyteorder("="))  # in the order of this machine, in memory that may be written to


def _refused(code: int, data: bytes) -> Any:
    raise WireError(f"extension types are not taken, got type {code} with {len(data)} bytes")


def _short(text: str, most: int = 80) -> str:
    """Return a text from anywhere for one line of a message."""
    line = text.encode("unicode_escape").decode("ascii")
    return line if len(line) <= most else f"{line[:most]}…"
