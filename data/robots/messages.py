"""ROS messages as plain dictionaries, in ROS 2's names, whatever robot, bridge or bag they come from.

    {"header": {"stamp": {"sec": 3, "nanosec": 0}, "frame_id": ""}, "name": ["elbow"], "position": array([0.1]), …}

A sequence of numbers is an array of the definition's own type, one of texts a list of `str`, one of messages a list of
dictionaries. Definitions and binary forms are those of rosbags, which needs no ROS.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ...errors import nearest
from .names import MessageError, full_name

Message = dict[str, Any]
_FLOATS = ("float32", "float64")
_MOST = {kind: float(np.finfo(kind).max) for kind in _FLOATS}
_BYTES = ("uint8", "byte", "char", "octet")


class Types:
    """Definitions of messages: those of ROS 2, and what is added."""

    def __init__(self, store: Typestore | None = None) -> None:
        """Know the types of ROS 2 Humble, which all newer ones have too, or those of a store."""
        self.store = get_typestore(Stores.ROS2_HUMBLE) if store is None else store

    def add(self, kind: str, definition: str) -> None:
        """Add the type of a definition as `.msg` files have it, which may hold those that it needs.

        Raises:
            MessageError: it cannot be read.
        """
        try:
            found = get_types_from_msg(definition, full_name(kind))
            self.store.register({name: one for name, one in found.items() if name not in self.store.fielddefs})
        except (TypesysError, AssertionError, ValueError) as error:
            raise MessageError(f"the definition of {kind} cannot be read: {error}") from error

    def fields(self, kind: str) -> dict[str, tuple[Any, Any]]:
        """Return field -> description of a type, as rosbags has it.

        Raises:
            MessageError: the type is not known.
        """
        name = full_name(kind)
        if name not in self.store.fielddefs:
            raise MessageError(f"no type of message is called {name}{nearest(name, self.store.fielddefs)}")
        return dict(self.store.fielddefs[name][1])

    def has_header(self, kind: str) -> bool:
        """Whether messages of a type have a stamp."""
        return self.fields(kind).get("header", ((), ""))[1] == "std_msgs/msg/Header"

    def complete(self, kind: str, message: Mapping[str, Any]) -> Message:
        """Return a message with every field of its type: what is missing is 0, empty, or false.

        Takes what JSON makes of messages too: lists for arrays, Base64 for bytes, and null for a float that JSON cannot
        say, which becomes NaN.

        Raises:
            MessageError: the type is unknown, there is a field too many, or a value is of another kind; names it.
        """
        try:
            return _message(self, full_name(kind), message, full_name(kind))
        except RecursionError as error:
            raise MessageError(f"{full_name(kind)} has a field that holds such a message itself") from error

    def to_cdr(self, kind: str, message: Mapping[str, Any]) -> bytes:
        """Return ROS 2's binary form of a complete message.

        Raises:
            MessageError: it is not complete, or not of its type.
        """
        try:
            return bytes(self.store.serialize_cdr(self._object(kind, message), full_name(kind)))
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, struct.error, TypesysError) as error:
            why = f"{type(error).__name__}: {error}"
            raise MessageError(f"this is no complete {full_name(kind)}: {why:.80}") from error

    def from_cdr(self, kind: str, raw: bytes) -> Message:
        """Return the message of ROS 2's binary form.

        Raises:
            MessageError: the bytes are none.
        """
        return self._read(self.store.deserialize_cdr, kind, raw)

    def to_ros1(self, kind: str, message: Mapping[str, Any]) -> bytes:
        """Return ROS 1's binary form of a message, `seq` of its header is 0."""
        return bytes(self.store.cdr_to_ros1(self.to_cdr(kind, message), full_name(kind)))

    def from_ros1(self, kind: str, raw: bytes) -> Message:
        """Return the message of ROS 1's binary form, without `seq`.

        Raises:
            MessageError: the bytes are none.
        """
        return self._read(
            lambda raw, name: self.store.deserialize_cdr(self.store.ros1_to_cdr(raw, name), name), kind, raw
        )

    def _read(self, read: Callable[..., Any], kind: str, raw: bytes) -> Message:
        self.fields(kind)
        try:
            return _plain(self, kind, read(raw, full_name(kind)))
        except Exception as error:  # of bytes from anywhere it raises what numpy and struct raise
            raise MessageError(f"{len(raw)} bytes are no {full_name(kind)}: {error}") from error

    def _object(self, kind: str, message: Mapping[str, Any]) -> Any:
        """Return a complete message as the object that rosbags writes."""
        name = full_name(kind)
        values = {field: self._value(description, message[field]) for field, description in self.fields(name).items()}
        return self.store.types[name](**values)

    def _value(self, description: tuple[Any, Any], value: Any) -> Any:
        node, detail = description[0].name, description[1]
        if node == "NAME":
            return self._object(detail, value)
        if node == "BASE":
            return value
        return value if isinstance(value, np.ndarray) else [self._value(detail[0], one) for one in value]


def stamp_of(message: Mapping[str, Any]) -> float | None:
    """Return the seconds of a message's stamp; None where it has no header, or one that was never filled."""
    header = message.get("header")
    stamp = header.get("stamp") if isinstance(header, Mapping) else None
    if not stamp or not (stamp["sec"] or stamp["nanosec"]):
        return None
    return float(stamp["sec"] + 1e-9 * stamp["nanosec"])


def stamped(seconds: float, frame: str = "") -> Message:
    """Return a header for a time in seconds."""
    whole = int(seconds // 1)
    nanoseconds = min(round((seconds - whole) * 1e9), 999_999_999)
    return {"stamp": {"sec": whole, "nanosec": nanoseconds}, "frame_id": frame}


def _message(types: Types, kind: str, value: Any, where: str) -> Message:
    if not isinstance(value, Mapping):
        raise MessageError(f"{where} is a {kind}, a dictionary of its fields, got {_short(value)}")
    fields = types.fields(kind)
    extra = [name for name in value if name not in fields]
    if extra:
        raise MessageError(f"{where} has no field {_short(extra[0])}{nearest(str(extra[0]), fields)}")
    return {
        name: _field(types, description, value.get(name, ...), f"{where}.{name}")
        for name, description in fields.items()
    }


def _field(types: Types, description: tuple[Any, Any], value: Any, where: str) -> Any:
    """Return a value of a field; `...` for one that is missing."""
    node, detail = description[0].name, description[1]
    if node == "BASE":
        return _base(detail[0], detail[1], value, where)
    if node == "NAME":
        return _message(types, detail, {} if value is ... else value, where)
    (inner, element), length = detail
    least, most = (length if node == "ARRAY" else 0), (length or math.inf)
    if inner.name == "BASE" and element[0] != "string":
        found = _numbers(element[0], value, least, where)
    else:
        value = [...] * least if value is ... else value
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise MessageError(f"{where} is a sequence, got {_short(value)}")
        found = [_field(types, (inner, element), one, f"{where}[{index}]") for index, one in enumerate(value)]
    if not least <= len(found) <= most:
        raise MessageError(f"{where} has {'' if least else 'at most '}{length} elements, got {len(found)}")
    return found


def _base(kind: str, longest: int, value: Any, where: str) -> Any:
    if kind == "string":
        return _string("" if value is ... else value, longest, where)
    value = 0 if value is ... else value
    if kind == "bool":
        if not (isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1))):
            raise MessageError(f"{where} is true or false, got {_short(value)}")
        return bool(value)
    if kind in _FLOATS:
        value = float("nan") if value is None else _of_type((int, float, np.integer, np.floating), value, where)
        if _MOST[kind] < abs(value) < math.inf:
            raise MessageError(f"{where} is {kind}, which cannot hold {_short(value)}")
        return float(value)
    value = _of_type((int, np.integer), value, where)
    low, high = _range("uint8" if kind in _BYTES else kind)
    if not low <= value <= high:
        raise MessageError(f"{where} is {kind}, {low} to {high}, got {_short(value)}")
    return int(value)


def _of_type(kinds: Any, value: Any, where: str) -> Any:
    if not isinstance(value, kinds) or isinstance(value, bool):
        wanted = "a text" if kinds is str else "a number"
        raise MessageError(f"{where} is {wanted}, got {_short(value)}")
    return value


def _string(value: Any, longest: int, where: str) -> str:
    """Return a text that all can write: JSON's half characters, which are none, are refused."""
    text = cast(str, _of_type(str, value, where))
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise MessageError(f"{where} is a text with half a character in it: {_short(text)}") from error
    if longest and length > longest:
        raise MessageError(f"{where} has at most {longest} bytes, got {length}")
    return text


@cache
def _range(kind: str) -> tuple[int, int]:
    limits = np.iinfo(kind)
    return int(limits.min), int(limits.max)


def _numbers(kind: str, value: Any, least: int, where: str) -> NDArray[Any]:
    """Return a sequence of numbers as an array of the type that its definition says."""
    dtype = np.dtype("uint8" if kind in _BYTES else "bool" if kind == "bool" else kind)
    array = np.zeros(least, dtype) if value is ... else _array(kind, dtype, value, where)
    if array.dtype == dtype or not array.size:
        return array.astype(dtype)
    low, high = (0, 1) if kind == "bool" else (-_MOST[kind], _MOST[kind]) if kind in _FLOATS else _range(dtype.name)
    finite = array[np.isfinite(array)]
    if finite.size and not low <= finite.min() <= finite.max() <= high:
        raise MessageError(f"{where} holds {kind}, {low} to {high}, got {finite.min()} to {finite.max()}")
    return array.astype(dtype)


def _array(kind: str, dtype: np.dtype[Any], value: Any, where: str) -> NDArray[Any]:
    """Return an array of whatever a sequence of numbers may come as, its numbers not yet of the type."""
    if isinstance(value, str) and dtype == np.uint8:
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MessageError(f"{where} is no Base64: {error}") from error
    if isinstance(value, bytes | bytearray | memoryview):
        if dtype.itemsize != 1:
            raise MessageError(f"{where} is an array of {kind}, got bytes")
        return np.frombuffer(value, np.uint8 if kind == "bool" else dtype)
    mixed = False
    if isinstance(value, list):
        listed = cast("list[Any]", value)
        mixed = dtype.kind != "b" and bool in map(type, listed)
        if dtype.kind == "f" and None in listed:
            value = [math.nan if one is None else one for one in listed]
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):  # lists of several lengths, a whole number beyond all floats
        array = np.zeros((0, 0))
    kinds = "biu" if dtype.kind == "b" else "iu" if dtype.kind in "iu" else "fiu"
    if mixed or array.ndim != 1 or (array.size and array.dtype.kind not in kinds):
        raise MessageError(f"{where} is a sequence of {kind}, got {_short(value)}")
    return array


def _plain(types: Types, kind: str, value: Any) -> Message:
    """Return what rosbags has read as a dictionary of its fields; its constants are left out."""
    return {name: _plain_field(types, one, getattr(value, name)) for name, one in types.fields(kind).items()}


def _plain_field(types: Types, description: tuple[Any, Any], value: Any) -> Any:
    node, detail = description[0].name, description[1]
    if node == "NAME":
        return _plain(types, detail, value)
    if isinstance(value, np.ndarray):
        return value.view(np.uint8) if detail[0][1][0] in _BYTES else value
    return [_plain_field(types, detail[0], one) for one in value] if node in ("SEQUENCE", "ARRAY") else value


def _short(value: Any, most: int = 60) -> str:
    """Return a value from anywhere for one line of a message."""
    try:
        line = ascii(value)
    except ValueError:  # a whole number of more digits than Python writes
        line = f"a very long {type(value).__name__}"
    return line if len(line) <= most else f"{line[:most]}…"
