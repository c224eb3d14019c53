"""What ROS 1 and ROS 2 call the same things on the wire; everywhere else in this package it is ROS 2's names.

    ROS 1   sensor_msgs/JointState       {"secs": 3, "nsecs": 0}      a header has seq
    ROS 2   sensor_msgs/msg/JointState   {"sec": 3, "nanosec": 0}     it has none

Definitions say which map is a time, so a robot's own field called `secs` stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ...data.robots.messages import Message, MessageError, Types, full_name
from ...errors import LaminarError

DIALECTS = ("ros1", "ros2")
_HEADER = "std_msgs/msg/Header"
_TIMES = ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration")
_TIME_NAMES = {"ros1": ("secs", "nsecs"), "ros2": ("sec", "nanosec")}
_EMPTY = "structure_needs_at_least_one_member"  # of a type without fields in ROS 2's binary form, and nowhere else
_CDR = (b"\0\0", b"\0\1")  # big-endian, little-endian
_CAMERA = {"d": "D", "k": "K", "r": "R", "p": "P"}
_RENAMED = {  # field -> ROS 1's name
    "sensor_msgs/msg/CameraInfo": _CAMERA,
    "stereo_msgs/msg/DisparityImage": {"t": "T"},
}


class Dialect:
    """Translates messages of one version of ROS, as its definitions say."""

    def __init__(self, name: str, types: Types) -> None:
        """Speak one of them.

        Args:
            name: "ros1" or "ros2".
            types: definitions of the messages.

        Raises:
            LaminarError: it is neither.
        """
        if name not in DIALECTS:
            raise LaminarError(f"dialect={name!r} must be one of {', '.join(DIALECTS)}")
        self.name, self.types = name, types
        self.other = DIALECTS[1 - DIALECTS.index(name)]
        self._inner: dict[str, dict[str, str]] = {}

    def kind(self, kind: str) -> str:
        """Return the name of a message's type on the wire."""
        return _shortened(full_name(kind)) if self.name == "ros1" else full_name(kind)

    def service(self, kind: str) -> str:
        """Return the name of a service's type on the wire; "" stays so.

        Raises:
            MessageError: it names none.
        """
        return kind and (_shortened(service_name(kind)) if self.name == "ros1" else service_name(kind))

    def write(self, kind: str, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return a complete message in the names of the wire."""
        kind = full_name(kind)
        if self.name == "ros1" and kind in _TIMES:
            return {"secs": message["sec"], "nsecs": message["nanosec"]}
        names = _RENAMED.get(kind, {}) if self.name == "ros1" else {}
        inner = self._messages_in(kind)
        values = {
            names.get(field, field): self._each(self.write, inner[field], value) if field in inner else value
            for field, value in message.items()
            if field != _EMPTY
        }
        return {"seq": 0, **values} if self.name == "ros1" and kind == _HEADER else values

    def read(self, kind: str, values: Any) -> Any:
        """Return what came over the wire in ROS 2's names; `Types.complete` has to look at it next.

        Raises:
            MessageError: it is written as the other version of ROS does.
        """
        kind = full_name(kind)
        if not isinstance(values, Mapping):
            return values
        given = cast("Mapping[str, Any]", values)
        if kind in _TIMES:
            return self._time(kind, given)
        if kind == _HEADER and "seq" in given:
            if self.name == "ros2":
                raise self._wrong("a header has seq")
            given = {key: value for key, value in given.items() if key != "seq"}
        renamed = _RENAMED.get(kind, {}) if self.name == "ros1" else {}
        names = {there: here for here, there in renamed.items()}
        inner = self._messages_in(kind)
        found: dict[str, Any] = {}
        for key, value in given.items():
            field = names.get(key, key)
            found[field] = self._each(self.read, inner[field], value) if field in inner else value
        return found

    def from_binary(self, kind: str, raw: bytes) -> Message:
        """Return the message of the binary form, as cbor-raw has it.

        Raises:
            MessageError: the bytes are none.
        """
        if self.name == "ros2":
            if raw[:2] not in _CDR:
                raise self._wrong(f"{len(raw)} bytes of a {full_name(kind)} do not begin as CDR does")
            return self.types.from_cdr(kind, raw)
        message = self.types.from_ros1(kind, raw)
        if _has_nul(message):
            raise self._wrong("a text ends with a zero byte")
        return message

    def to_binary(self, kind: str, message: Mapping[str, Any]) -> bytes:
        """Return the binary form of a complete message."""
        return self.types.to_ros1(kind, message) if self.name == "ros1" else self.types.to_cdr(kind, message)

    def write_part(self, kind: str, part: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a service's "Request" or "Response" for the wire: translated where its definition is known.

        That of mine_srvs/srv/Plan is known after ``types.add("mine_srvs/msg/Plan_Request", …)``; anything else is sent
        as it is given.

        Raises:
            MessageError: it is none of it.
        """
        known = self._part(kind, part)
        return self.write(known, self.types.complete(known, values)) if known else dict(values)

    def read_part(self, kind: str, part: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a service's "Request" or "Response" from the wire: translated where its definition is known.

        Raises:
            MessageError: it is none of it.
        """
        known = self._part(kind, part)
        return self.types.complete(known, self.read(known, values)) if known else dict(values)

    def _part(self, kind: str, part: str) -> str:
        name = f"{service_name(kind)}_{part}".replace("/srv/", "/msg/") if kind else ""
        return name if name in self.types.store.fielddefs else ""

    def _time(self, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        mine, others = _TIME_NAMES[self.name], _TIME_NAMES[self.other]
        if any(key in given for key in others):
            raise self._wrong(f"a {kind.rpartition('/')[2].lower()} has {others[0]} and {others[1]}")
        names = dict(zip(mine, _TIME_NAMES["ros2"], strict=True))
        return {names.get(key, key): value for key, value in given.items()}

    def _wrong(self, what: str) -> MessageError:
        return MessageError(f"{what}, as {self.other} has it, and this is {self.name}; choose dialect={self.other}")

    def _each(self, translate: Any, kind: str, value: Any) -> Any:
        if isinstance(value, list):
            return [translate(kind, one) for one in cast("list[Any]", value)]
        return translate(kind, value)

    def _messages_in(self, kind: str) -> dict[str, str]:
        """Return the fields of a type that are messages, or sequences of them -> their type."""
        if kind not in self._inner:
            found: dict[str, str] = {}
            for field, (node, detail) in self.types.fields(kind).items():
                if node.name in ("ARRAY", "SEQUENCE"):
                    node, detail = detail[0]
                if node.name == "NAME":
                    found[field] = full_name(detail)
            self._inner[kind] = found
        return self._inner[kind]


def service_name(kind: str) -> str:
    """Return the ROS 2 name of a service's type, "std_srvs/srv/Trigger", for either that or "std_srvs/Trigger".

    Raises:
        MessageError: it is neither.
    """
    package, *rest = kind.split("/")
    middle, name = rest[:-1], rest[-1] if rest else ""
    if not (package and name) or middle not in ([], ["srv"]):
        raise MessageError(f"'{kind}' names no type of service; write it as std_srvs/srv/Trigger")
    return f"{package}/srv/{name}"


def has_texts(types: Types, kind: str) -> bool:
    """Whether a type has a sequence of texts, in itself or in a message of it."""
    for node, detail in types.fields(kind).values():
        inside = node.name in ("ARRAY", "SEQUENCE")
        node, detail = detail[0] if inside else (node, detail)
        if (inside and node.name == "BASE" and detail[0] in ("string", "wstring")) or (
            node.name == "NAME" and has_texts(types, detail)
        ):
            return True
    return False


def _has_nul(value: Any) -> bool:
    """Whether a text has a zero byte, which ROS 2 ends each with and ROS 1 has none of."""
    if isinstance(value, dict):
        return any(_has_nul(one) for one in cast("dict[str, Any]", value).values())
    if isinstance(value, list):
        return any(_has_nul(one) for one in cast("list[Any]", value))
    return isinstance(value, str) and "\0" in value


def _shortened(kind: str) -> str:
    package, _, name = kind.split("/")
    return f"{package}/{name}"
