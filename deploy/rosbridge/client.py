"""A robot behind rosbridge, ROS 1 or ROS 2, as a transport; needs no ROS here.

rosbridge never tells a client what it did not understand, so what is sent is checked here, and whether a command
arrived shows in what the robot does next, not in an answer.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ...data.robots.messages import Message, Types, full_name
from ...errors import LaminarError
from ..transport import EVERYTHING, Answer, Handler, Reading
from . import protocol
from .dialect import Dialect, has_texts
from .inbox import Inbox
from .link import Link, Settings
from .services import Calls, Served, values_of

_COMPRESSION = {"json": "none", "cbor": "cbor", "cbor-raw": "cbor-raw"}  # encoding -> what rosbridge calls it
_PICTURES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


@dataclass
class _Topic:
    """A topic that is read."""

    kind: str
    reading: Reading
    encoding: str
    handlers: list[Handler] = field(default_factory=list["Handler"])


class Rosbridge:
    """A transport over rosbridge's websocket.

    Handlers are called by one thread, one after the other; while one takes its time, only the newest message of each
    topic waits.

    Attributes:
        dropped: messages that were not sent, because the connection was away or stalled.
        refused: frames and messages from the other side that were not what they should be; `last_refusal` says why.
        last_error: of a handler, a service here, or what rosbridge complained about.
    """

    echoes = True

    def __init__(
        self,
        types: Types,
        settings: Settings,
        dialect: str = "ros2",
        fragment_size: int = 0,
        on_change: Callable[[bool, str], None] | None = None,
        tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        """Belong to a bridge; `open` connects.

        Args:
            types: definitions of the messages.
            settings: of the connection.
            dialect: "ros1" or "ros2", what runs there.
            fragment_size: characters in one frame from there, where something on the way takes no longer ones; 0 for
                all at once.
            on_change: told at once when the connection is there (True) or gone (False), and why; must not wait.
            tell: told of errors in handlers and services, each once in a row.
        """
        self.dropped, self.refused = 0, 0
        self.last_refusal, self.last_error = "", ""
        self.settings, self.types, self.dialect = settings, types, Dialect(dialect, types)
        self._fragment_size, self._on_change, self._tell = fragment_size, on_change, tell
        self._lock = threading.Lock()
        self._read: dict[str, _Topic] = {}
        self._advertised: dict[str, str] = {}
        self._calls, self._served = Calls(), Served(self.dialect, self._wrong)
        self._fragments = protocol.Fragments(settings.most_bytes)
        self._link = Link(settings, self._greeting, self._arrived, self._changed)
        self._inbox: Inbox | None = None
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection, whose last sign of life is not older than `settings.ping`."""
        return self._link.connected

    @property
    def reconnects(self) -> int:
        """Connections after the first one."""
        return self._link.reconnects

    @property
    def skipped(self) -> int:
        """Messages that were not handled because a newer one came first."""
        return 0 if self._inbox is None else self._inbox.skipped

    def open(self, timeout: float) -> None:
        """Connect, trying again while nobody is there; once only.

        Raises:
            LaminarError: not within so many seconds, or refused; says why.
        """
        if self._inbox is not None or self._closed:
            raise LaminarError(f"the connection to {self.settings.url} was opened before; make a new one")
        self._inbox = Inbox(self._handle)
        try:
            self._link.open(timeout)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave; nothing is handled afterwards."""
        self._closed = True
        self._calls.fail("it was closed here")
        if self._inbox is not None:
            self._inbox.close()
        self._served.close()
        self._link.close()

    def now(self) -> float:
        """Seconds since 1970: robots stamp so; their clocks have to be set."""
        return time.time()

    def subscribe(self, topic: str, kind: str, handler: Handler, reading: Reading = EVERYTHING) -> None:
        """Have the messages of a topic handled, the newest first where they come faster than they are handled.

        Raises:
            LaminarError: the type or the encoding is unknown, or the topic is read otherwise already.
        """
        new = _Topic(full_name(kind), reading, self._encoding(full_name(kind), reading))
        blank = self.types.complete(kind, {})
        self.dialect.from_binary(kind, self.dialect.to_binary(kind, blank))  # rosbags compiles it now, not in motion
        with self._lock:
            known = self._read.setdefault(topic, new)
            if (known.kind, known.reading) != (new.kind, new.reading):
                raise LaminarError(f"topic {topic} is read as {known.kind} with {known.reading} already")
            known.handlers.append(handler)
        if known is new:
            self._link.send(self._subscription(topic, new), command=False)

    def advertise(self, topic: str, kind: str) -> None:
        """Say that messages of a topic will come.

        Raises:
            LaminarError: the type is unknown, or the topic has another one.
        """
        self.types.fields(kind)
        with self._lock:
            known = self._advertised.setdefault(topic, full_name(kind))
        if known != full_name(kind):
            raise LaminarError(f"topic {topic} carries {known}, not {kind}")
        self._link.send(self._advertisement(topic, kind), command=False)

    def publish(self, topic: str, kind: str, message: Mapping[str, Any]) -> bool:
        """Send a message now, and return whether it left; False has dropped it for good.

        Raises:
            LaminarError: the topic was not advertised with this type, or the message is none of it, or not finite.
        """
        if self._advertised.get(topic) != full_name(kind):
            raise LaminarError(
                f"topic {topic} was not advertised as {kind}, and rosbridge would drop it without a word"
            )
        values = self.dialect.write(kind, self.types.complete(kind, message))
        text = protocol.write("publish", {"topic": topic, "msg": values})
        left = not self._closed and self._link.send(text)
        self.dropped += not left
        return left

    def call(self, service: str, kind: str, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Call a service and return its response; `kind` may be "", as rosbridge knows it by its name.

        Raises:
            LaminarError: it failed, there is none, no answer came in time, or the connection is away.
        """
        named = {"service": service, "args": self.dialect.write_part(kind, "Request", request)}
        if kind:
            named["type"] = self.dialect.service(kind)
        key = self._calls.begin(service)
        try:
            if self._closed or not self._link.send(protocol.write("call_service", {"id": key, **named})):
                raise LaminarError("the connection is away")
            frame = self._calls.wait(key, timeout)
        except LaminarError as error:
            raise LaminarError(f"cannot call {service} of {self.settings.url}: {error}") from error
        finally:
            self._calls.end(key)
        return self.dialect.read_part(kind, "Response", values_of(service, frame))

    def serve(self, service: str, kind: str, answer: Answer) -> None:
        """Offer a service; calls are answered in threads of their own.

        Raises:
            LaminarError: it is offered already.
        """
        self._link.send(self._served.offer(service, kind, answer), command=False)

    def _encoding(self, kind: str, reading: Reading) -> str:
        encoding = reading.encoding or ("cbor-raw" if kind in _PICTURES else "json")
        if encoding not in _COMPRESSION:
            raise LaminarError(f"encoding={encoding!r} must be one of {', '.join(_COMPRESSION)}")
        if encoding == "cbor" and self.dialect.name == "ros1" and has_texts(self.types, kind):
            raise LaminarError(
                f"rosbridge of ROS 1 loses every {kind} in cbor, because it has a sequence of texts; choose json or "
                "cbor-raw"
            )
        return encoding

    def _greeting(self) -> list[str]:
        with self._lock:
            advertised, read = dict(self._advertised), dict(self._read)
        frames = [self._advertisement(topic, kind) for topic, kind in advertised.items()]
        return [*frames, *self._served.greeting(), *(self._subscription(topic, one) for topic, one in read.items())]

    def _advertisement(self, topic: str, kind: str) -> str:
        return protocol.write(
            "advertise", {"id": f"advertise:{topic}", "topic": topic, "type": self.dialect.kind(kind)}
        )

    def _subscription(self, topic: str, one: _Topic) -> str:
        asked = {
            "id": f"subscribe:{topic}",
            "topic": topic,
            "type": self.dialect.kind(one.kind),
            "throttle_rate": one.reading.throttle_ms,
            "queue_length": one.reading.queue,
            "compression": _COMPRESSION[one.encoding],
        }
        if self._fragment_size:
            asked["fragment_size"] = self._fragment_size
        return protocol.write("subscribe", asked)

    def _changed(self, there: bool, reason: str) -> None:
        if not there:
            self._fragments = protocol.Fragments(self.settings.most_bytes)
            self._calls.fail(f"the connection broke: {reason}")
        if self._on_change is not None:
            try:
                self._on_change(there, reason)
            except Exception as error:  # the connection has to live on
                self._wrong(f"on_change: {error!r}")

    def _arrived(self, raw: str | bytes, arrival: float) -> None:
        """Take a frame; called by the connection's thread."""
        try:
            frame = protocol.read(raw)
            whole = self._fragments.add(frame) if frame["op"] == "fragment" else frame
            if whole is not None:
                self._sort(whole, arrival)
        except LaminarError as error:
            self._refuse(str(error))
        except Exception as error:  # whatever a frame made of anything led to: the connection stays
            self._refuse(f"a frame cannot be read: {error!r}"[:300])

    def _sort(self, frame: dict[str, Any], arrival: float) -> None:
        op = frame["op"]
        if op == "publish":
            topic = protocol.text_of(frame, "topic")
            if topic in self._read and self._inbox is not None:
                self._inbox.put(topic, frame.get("msg"), arrival)
        elif op == "service_response":
            self._calls.answered(frame)
        elif op == "call_service":
            self._served.called(frame, self._replies())
        elif op == "status":
            if frame.get("level") in ("error", "warning"):
                self._wrong(f"rosbridge says: {protocol.short(str(frame.get('msg')), 300)}")
        else:
            raise protocol.ProtocolError(f"no op is called {protocol.short(op)}")

    def _replies(self) -> Callable[[str], object]:
        """Return how to answer over this connection; over the next one nobody waits for it."""
        count = self._link.reconnects
        return lambda text: count == self._link.reconnects and self._link.send(text)

    def _handle(self, topic: str, values: Any, arrival: float) -> None:
        """Decode a message and hand it on; called by the inbox's thread."""
        one = self._read[topic]
        try:
            message = self._decoded(one, values)
        except Exception as error:  # of values from anywhere; those of ours are `LaminarError`
            self._refuse(f"{topic}: {error}"[:300])
            return
        for handler in list(one.handlers):
            if self._closed:
                return
            try:
                handler(message, arrival)
            except Exception as error:  # of whoever reads the topic: the others go on
                self._wrong(f"handler of {topic}: {error!r}")

    def _decoded(self, one: _Topic, values: Any) -> Message:
        if one.encoding != "cbor-raw":
            return self.types.complete(one.kind, self.dialect.read(one.kind, values))
        raw = cast("dict[str, Any]", values).get("bytes") if isinstance(values, dict) else None
        if not isinstance(raw, bytes):
            raise protocol.ProtocolError(f"cbor-raw was asked for, got {protocol.short(repr(values))}")
        return self.dialect.from_binary(one.kind, raw)

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        self.last_refusal = reason

    def _wrong(self, line: str) -> None:
        again, self.last_error = line == self.last_error, line
        if not again:
            self._tell(f"rosbridge {self.settings.url}: {line}")
