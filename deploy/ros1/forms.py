"""Messages as rospy carries them: whole, as bytes, since what they mean is known here without ROS."""

from __future__ import annotations

from typing import Any

from rosbags.typesys import Stores, get_typestore

from ...data.robots.messages import Types, full_name
from ...errors import LaminarError

_HEADER, _TIMES = "std_msgs/msg/Header", ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration")


class Forms:
    """Names, checksums and definitions of ROS 1 for types that are known by ROS 2's."""

    def __init__(self, rospy: Any, types: Types) -> None:
        """Know what ROS 1 has, and what of `types` is not in it."""
        self._rospy, self._types = rospy, types
        self._store: Any = get_typestore(Stores.ROS1_NOETIC)
        self._made: dict[str, Any] = {}

    def of(self, kind: str) -> Any:
        """Return the class of a type, an `AnyMsg` with a name.

        Raises:
            LaminarError: the type is unknown, or another one in ROS 1.
        """
        kind = full_name(kind)
        if kind not in self._made:
            self._types.fields(kind)
            self._know(kind)
            if _layout(self._store, kind) != _layout(self._types.store, kind):
                raise LaminarError(f"{kind} has other fields in ROS 1 than in ROS 2: use transport=rosbridge for it")
            text, checksum = self._store.generate_msgdef(kind, ros_version=1)
            name = kind.replace("/msg/", "/")
            self._made[kind] = raw(self._rospy, name, checksum, text)
        return self._made[kind]

    def _know(self, kind: str) -> None:
        """Have the types that ROS 1 does not bring along, such as those of a user."""
        if kind in self._store.fielddefs:
            return
        definition: Any = self._types.store.fielddefs[kind]
        for _, (node, detail) in definition[1]:
            inner = detail[0] if node.name in ("ARRAY", "SEQUENCE") else (node, detail)
            if inner[0].name == "NAME":
                self._know(full_name(inner[1]))
        self._store.register({kind: definition})


def raw(rospy: Any, name: str, checksum: str, text: str = "") -> Any:
    """Return a class of messages that are bytes."""
    attributes = {"_type": name, "_md5sum": checksum, "_full_text": text, "__slots__": []}
    return type("Raw", (rospy.AnyMsg,), attributes)


def written(form: Any, data: bytes) -> Any:
    """Return a message of bytes."""
    message = form()
    message._buff = data
    return message


def _layout(store: Any, kind: str) -> Any:
    """Return the types of all fields, whatever they are called: what the binary form depends on."""
    if kind == _HEADER or kind in _TIMES:
        return kind
    found: list[Any] = []
    for _, (node, detail) in store.fielddefs[kind][1]:
        inner, length = (detail[0], detail[1]) if node.name in ("ARRAY", "SEQUENCE") else ((node, detail), None)
        named = inner[0].name == "NAME"
        found.append((node.name, length, _layout(store, full_name(inner[1])) if named else inner[1][0]))
    return found
