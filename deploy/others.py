"""Whether somebody else commands the robot, too: two controllers that take turns move it where neither wants.

A bridge shows everybody the messages of a topic, our own as well. What is heard on a topic of commands and was not
sent here a moment ago is somebody else's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data.robots.commanded import told
from ..data.robots.description import Robot
from ..data.robots.messages import Message, stamp_of
from ..errors import LaminarError
from .transport import EVERYTHING, Handler, Reading, Transport

_KEPT = 100  # commands of a topic that may still come back
_LASTS = 1.0  # seconds since the last one of somebody else
_READING = Reading(throttle_ms=100)  # some of them are enough


class Others:
    """Listens to the topics of commands; heard and asked by different threads."""

    def __init__(self, robot: Robot, transport: Transport) -> None:
        """Listen from now on.

        Args:
            robot: whose outputs.
            transport: to it.
        """
        self._robot, self._lock = robot, threading.Lock()
        self._sent = {topic: deque[bytes](maxlen=_KEPT) for topic in robot.command_topics()}
        self._heard: dict[str, float] = {}  # topic -> when somebody else's command came last
        for topic in self._sent:
            reading = EVERYTHING if topic in robot.read_topics() else _READING  # of one that is observed, too
            transport.subscribe(topic, robot.types[topic], self._reader(topic), reading)

    def sending(self, topic: str, message: Mapping[str, Any]) -> None:
        """Know a command as our own, before it is sent."""
        with self._lock:
            self._sent[topic].append(self._known_by(topic, message))

    def trouble(self, now: float) -> str:
        """Return that somebody else commands the robot; "" where nobody does.

        Args:
            now: of the steady clock.
        """
        with self._lock:
            topic = next((topic for topic, heard in self._heard.items() if now - heard < _LASTS), None)
        return "" if topic is None else f"somebody else commands {self._robot.name}, too, at {topic}: stop one of both"

    def _reader(self, topic: str) -> Handler:
        def read(message: Message, arrival: float) -> None:
            with self._lock:
                if self._known_by(topic, message) not in self._sent[topic]:
                    self._heard[topic] = arrival

        return read

    def _known_by(self, topic: str, message: Mapping[str, Any]) -> bytes:
        """Return stamp and numbers of a command, b"" of what is none; in single precision, which every field keeps."""
        outputs = [one for one in self._robot.action if one.topic == topic]
        try:
            numbers = np.concatenate([told(one, dict(message)) for one in outputs])
        except LaminarError:
            return b""
        return repr(stamp_of(message)).encode() + numbers.astype(np.float32).tobytes()
