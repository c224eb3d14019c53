"""Frames of rosbridge v2: JSON texts, CBOR bytes, and texts that come in pieces.

    {"op": "publish", "topic": "/command", "msg": {…}}

A frame from elsewhere may hold anything; what is none raises one error, and nothing that is kept can grow for ever.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any, cast

import cbor2
import numpy as np

from ...errors import LaminarError

MOST_BYTES = 16 * 1024 * 1024
"""Of one frame, unless told otherwise: a picture of 1920 x 1080 as Base64 has 8 million."""
_PARTLY = 16  # texts that may be on their way in pieces at once
# RFC 8746: typed arrays, little-endian
_TAGS = {69: "<u2", 70: "<u4", 71: "<u8", 72: "<i1", 77: "<i2", 78: "<i4", 79: "<i8", 85: "<f4", 86: "<f8"}
_TAG_OF = {np.dtype(name): tag for tag, name in _TAGS.items()}


class ProtocolError(LaminarError):
    """A frame that is none."""


def write(op: str, fields: Mapping[str, Any], nan: str = "refuse") -> str:
    """Return a frame as JSON; arrays of bytes become Base64, others lists.

    Args:
        op: what is to be done.
        fields: the rest of the frame, plain values and arrays.
        nan: what becomes of a number that is not finite, which strict JSON has not: "refuse", "null", or "NaN".

    Raises:
        ProtocolError: a number is not finite, or a value is none that JSON has.
    """
    frame = {"op": op, **fields}
    try:
        return json.dumps(frame, allow_nan=nan == "NaN", separators=(",", ":"), default=_plain)
    except ValueError as error:
        if nan == "null":
            return write(op, _without_nan(fields))
        raise ProtocolError(f"{op} {_named(fields)}: a number is not finite, which JSON cannot say") from error
    except (TypeError, RecursionError) as error:
        raise ProtocolError(f"{op} {_named(fields)} cannot be sent: {error}") from error


def write_cbor(op: str, fields: Mapping[str, Any]) -> bytes:
    """Return a frame as CBOR; arrays become typed arrays, those of bytes plain bytes."""
    return cbor2.dumps({"op": op, **_tagged(fields)})


def read(raw: str | bytes) -> dict[str, Any]:
    """Return the frame in a text or in CBOR's bytes.

    Raises:
        ProtocolError: there is none, or no op in it.
    """
    try:
        frame = json.loads(raw) if isinstance(raw, str) else cbor2.loads(raw, tag_hook=_array)
    except Exception as error:  # of bytes from anywhere json and cbor2 raise a dozen kinds
        raise ProtocolError(f"{len(raw)} {_unit(raw)} are no frame: {short(str(error) or repr(error))}") from error
    if not isinstance(frame, dict):
        raise ProtocolError(f"a frame is a map with an op, got {short(repr(frame))}")
    fields = cast("dict[str, Any]", frame)
    if not isinstance(fields.get("op"), str):
        raise ProtocolError(f"a frame has an op, a text, got {short(repr(fields))}")
    return fields


def text_of(frame: Mapping[str, Any], key: str) -> str:
    """Return a text of a frame.

    Raises:
        ProtocolError: there is none.
    """
    value = frame.get(key)
    if not (isinstance(value, str) and value):
        raise ProtocolError(f"{frame['op']} needs {key}, a text, got {short(repr(value))}")
    return value


def number_of(frame: Mapping[str, Any], key: str, default: int = 0) -> int:
    """Return a whole number of a frame that is not below 0.

    Raises:
        ProtocolError: it is something else.
    """
    value = frame.get(key)
    if value is None:
        return default
    if type(value) not in (int, float) or not 0 <= value < 1e9:
        raise ProtocolError(f"{frame['op']} takes {key}, a number from 0 on, got {short(repr(value))}")
    return int(value)


def map_of(frame: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a map of a frame.

    Raises:
        ProtocolError: there is none.
    """
    value = frame.get(key)
    if not isinstance(value, dict):
        raise ProtocolError(f"{frame['op']} needs {key}, a map, got {short(repr(value))}")
    return cast("dict[str, Any]", value)


def fragments(text: str, size: int, number: int) -> list[str]:
    """Return a text in pieces of at most `size` characters, as frames; itself where it is short."""
    if size < 1 or len(text) <= size:
        return [text]
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    total = len(parts)
    return [write("fragment", {"id": number, "data": data, "num": i, "total": total}) for i, data in enumerate(parts)]


class Fragments:
    """Texts that come in pieces, until they are whole; the oldest unfinished ones are forgotten."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        """Keep at most so many characters of one text."""
        self._most = most
        self._parts: dict[str, dict[int, str]] = {}
        self._sizes: dict[str, int] = {}

    def add(self, frame: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take a piece, and return the frame that it completes; None before that.

        Raises:
            ProtocolError: it is no piece, or belongs to something too long, or not to a frame.
        """
        key, data = str(frame.get("id"))[:200], frame.get("data")
        number, total = number_of(frame, "num", -1), number_of(frame, "total")
        if not isinstance(data, str) or not 0 <= number < total:
            raise ProtocolError(f"a fragment has id, data, num and total, got {short(repr(dict(frame)))}")
        parts = self._parts.setdefault(key, {})
        self._sizes[key] = self._sizes.get(key, 0) + len(data) - len(parts.get(number, ""))
        parts[number] = data
        if max(total, self._sizes[key]) > self._most:
            self._forget(key)
            raise ProtocolError(f"the fragments of {short(key)} have more than {self._most} characters")
        while len(self._parts) > _PARTLY:
            self._forget(next(iter(self._parts)))
        if len(parts) < total:
            return None
        self._forget(key)
        whole = read("".join(parts[number] for number in range(total)))
        if whole["op"] == "fragment":
            raise ProtocolError("a fragment of fragments is not taken")
        return whole

    def _forget(self, key: str) -> None:
        del self._parts[key], self._sizes[key]


def short(text: str, most: int = 80) -> str:
    """Return a text from anywhere for one line of a message."""
    line = text[: most + 1].encode("unicode_escape").decode("ascii")
    return line if len(line) <= most else f"{line[:most]}…"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray):
        return base64.b64encode(value.tobytes()).decode() if value.dtype == np.uint8 else value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a value of type {type(value).__name__}")


def _without_nan(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tagged(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tagged(one) for key, one in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [_tagged(one) for one in cast("list[Any]", value)]
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype == np.uint8:
        return value.tobytes()
    little = value.dtype.newbyteorder("<")
    return cbor2.CBORTag(_TAG_OF[little], value.astype(little).tobytes()) if little in _TAG_OF else value.tolist()


def _array(*given: Any) -> Any:
    """Return the array of a tag; cbor2 5 gives (decoder, tag), cbor2 6 (tag, immutable)."""
    (tag,) = (one for one in given if isinstance(one, cbor2.CBORTag))
    if tag.tag not in _TAGS or not isinstance(tag.value, bytes):
        raise ProtocolError(f"a value with CBOR's tag {tag.tag} is not taken")
    dtype = np.dtype(_TAGS[tag.tag])
    return np.frombuffer(tag.value, dtype).astype(dtype.newbyteorder("="))


def _named(fields: Mapping[str, Any]) -> str:
    return str(fields.get("topic") or fields.get("service") or "")


def _unit(raw: str | bytes) -> str:
    return "characters" if isinstance(raw, str) else "bytes"
