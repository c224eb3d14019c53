"""Names of topics and of types of messages, as ROS has them; needs nothing that is not always there."""

from __future__ import annotations

import re

from ...errors import LaminarError

BOOL, WHOLE, TRIGGER = "std_msgs/msg/Bool", "std_msgs/msg/Int64", "std_srvs/srv/Trigger"
"""Types of topics and services by which a robot is reset, stopped, and tells of success."""
STRING = "std_msgs/msg/String"
"""Type of the topic by which a robot and its policy are told what to do."""
_WORD = "[A-Za-z][A-Za-z0-9_]*"
_TYPE = re.compile(rf"({_WORD})/(?:(msg|srv|action)/)?({_WORD})")
_TOPIC = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")


class MessageError(LaminarError):
    """A message that is not of its type."""


def full_name(kind: str) -> str:
    """Return the ROS 2 name of a type, "sensor_msgs/msg/JointState", for either that or "sensor_msgs/JointState".

    Raises:
        MessageError: it is neither.
    """
    found = _TYPE.fullmatch(kind)
    if found is None:
        raise MessageError(f"{kind!a:.80} names no type of message; write it as sensor_msgs/msg/JointState")
    package, middle, name = found.groups()
    return f"{package}/{middle or 'msg'}/{name}"


def full_topic(topic: str, namespace: str = "") -> str:
    """Return the full name of a topic or a service: one with a / in front is full, others are in the namespace.

    Args:
        topic: its name.
        namespace: "robot" and "/robot/" are "/robot".

    Raises:
        LaminarError: ROS has no such name.
    """
    inside = namespace.strip("/")
    full = topic if topic.startswith("/") else f"/{inside}/{topic}" if inside else f"/{topic}"
    if _TOPIC.fullmatch(full) is None:
        raise LaminarError(f"{full!a:.80} is no name in ROS: words of a-z, A-Z, 0-9 and _, not a digit first, with /")
    return full
