"""ROS 1 itself, by rospy, for machines that have it; `transport=rosbridge` needs nothing of ROS.

Native ROS 1 knows no receipts. What a robot's node has not read yet waits in its socket, so a robot has to look at the
stamps of its commands; behind rosbridge this package takes commands back that were not taken in time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...data.robots.messages import Types, full_name
from ...errors import LaminarError
from ..ros1 import services
from ..ros1.forms import Forms, written
from ..ros1.node import Master, imported, join
from ..rosbridge.inbox import Inbox
from ..transport import EVERYTHING, Answer, Handler, Reading

_LOOK, _ANSWER = 0.2, 0.5  # seconds between looks at the master, and for its answer
_AGAIN = 1.0  # seconds between attempts to find those who write a topic that nobody writes
_READERS = 1.0  # seconds to wait for those who read a topic already
_BUFFER = 1 << 20  # bytes that are read at once: with few, rospy falls behind large messages


def opened(
    types: Types,
    address: str = "http://127.0.0.1:11311",
    dialect: str = "ros1",
    token: str | None = None,
    timeout: float = 5.0,
) -> Rospy:
    """Return a connection to the robot of a ROS 1 master.

    Args:
        types: definitions of the messages.
        address: of the master, as in ROS_MASTER_URI.
        dialect: of no effect: this is ROS 1.
        token: of no effect: ROS 1 knows none.
        timeout: seconds to connect.

    Raises:
        LaminarError: there is no rospy here, or no master in time, or this process has a node of another one.
    """
    robot = Rospy(types, address)
    robot.open(timeout)
    return robot


@dataclass
class _Topic:
    """A topic that is read."""

    kind: str
    reading: Reading
    handlers: list[Handler] = field(default_factory=list["Handler"])
    subscriber: Any = None
    next: float = float("-inf")  # when a message is due, where they are throttled


class Rospy:
    """A transport over the node of this process, which all transports of the process share.

    Handlers are called by one thread, one after the other; while one takes its time, only the newest message of each
    topic waits. A master that is started again is told of everything again.

    Attributes:
        dropped: messages that nobody was there to take.
        refused: messages that were not of their topic's type; `last_refusal` says why.
        last_error: of a handler.
    """

    echoes = False  # a reader of our own would count as somebody who takes commands

    def __init__(
        self, types: Types, address: str, tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr)
    ) -> None:
        """Belong to a master; `open` connects.

        Args:
            types: definitions of the messages.
            address: of the master.
            tell: told of what is wrong with messages and handlers, each once in a row.

        Raises:
            LaminarError: the address is none.
        """
        self.dropped, self.refused = 0, 0
        self.last_refusal, self.last_error = "", ""
        self.types, self.address = types, address
        self._tell, self._master = tell, Master(address, _ANSWER)
        self._lock = threading.RLock()
        self._read: dict[str, _Topic] = {}
        self._written: dict[str, tuple[str, Any]] = {}  # topic -> type, publisher
        self._served: dict[str, Any] = {}
        self._rospy: Any = None
        self._forms: Any = None
        self._pid: Any = None  # of the master that knows everything
        self._inbox: Inbox | None = None
        self._there, self._closed = False, threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="ROS master", daemon=True)

    def open(self, timeout: float) -> None:
        """Register this process's node, if need be; once only.

        Raises:
            LaminarError: there is no rospy here, or no master in time, or this process has a node of another one.
        """
        if self._inbox is not None or self._closed.is_set():
            raise LaminarError(f"the connection to {self.address} was opened before; make a new one")
        self._rospy = join(self.address, timeout)
        self._pid = self._master.ask("getPid")
        self._forms = Forms(self._rospy, self.types)
        self._inbox, self._there = Inbox(self._handle), True
        self._watcher.start()

    def close(self) -> None:
        """Leave all topics and services; the node stays. Nothing is handled afterwards."""
        self._closed.set()
        self._there = False
        if self._inbox is None:
            return
        with self._lock:
            for publisher in [publisher for _, publisher in self._written.values()]:
                publisher.unregister()
            for one in self._read.values():
                one.subscriber.unregister()
            for service in self._served.values():
                service.shutdown("closed")
            self._read, self._served = {}, {}
        self._inbox.close()
        if threading.current_thread() is not self._watcher:
            self._watcher.join()

    @property
    def connected(self) -> bool:
        """Whether the node lives and its master answers."""
        return self._there and not self._rospy.core.is_shutdown()

    def now(self) -> float:
        """Seconds of ROS's clock, which is a simulator's under `use_sim_time`."""
        return time.time() if self._rospy is None else float(self._rospy.get_time())

    def subscribe(self, topic: str, kind: str, handler: Handler, reading: Reading = EVERYTHING) -> None:
        """Have the messages of a topic handled, the newest first where they come faster than they are handled.

        Raises:
            LaminarError: the type is unknown or another one in ROS 1, the topic is read otherwise already, or the
                master is away.
        """
        blank = self.types.to_ros1(kind, self.types.complete(kind, {}))
        self.types.from_ros1(kind, blank)  # rosbags compiles it now, not in motion
        with self._lock:
            self._ready(topic)
            known = self._read.get(topic)
            if known is None:
                self._forms.of(kind)
                known = self._read[topic] = _Topic(full_name(kind), reading, [handler])
                known.subscriber = self._rospy.Subscriber(
                    topic, self._rospy.AnyMsg, self._taker(topic, known), None, 1, _BUFFER, True
                )
            elif (known.kind, known.reading) != (full_name(kind), reading):
                raise LaminarError(f"topic {topic} is read as {known.kind} with {known.reading} already")
            else:
                known.handlers.append(handler)

    def advertise(self, topic: str, kind: str) -> None:
        """Say that messages of a topic will come, and wait a moment for those who read it already.

        Raises:
            LaminarError: the type is unknown or another one in ROS 1, the topic has another one, or the master is away.
        """
        self.types.fields(kind)
        with self._lock:
            known, publisher = self._written.get(topic, ("", None))
            if publisher is None:
                self._ready(topic)
                publisher = self._rospy.Publisher(topic, self._forms.of(kind), queue_size=1, tcp_nodelay=True)
                self._written[topic] = full_name(kind), publisher
                self._await_readers(topic, publisher)
            elif known != full_name(kind):
                raise LaminarError(f"topic {topic} carries {known}, not {kind}")

    def publish(self, topic: str, kind: str, message: Mapping[str, Any]) -> bool:
        """Send a message now, and return whether somebody was there to take it; False has dropped it for good.

        Raises:
            LaminarError: the topic was not advertised with this type, or the message is none of it.
        """
        known, publisher = self._written.get(topic, ("", None))
        if known != full_name(kind):
            raise LaminarError(f"topic {topic} was not advertised as {kind}")
        raw = self.types.to_ros1(kind, self.types.complete(kind, message))
        left = False
        if not self._closed.is_set() and not self._rospy.core.is_shutdown():
            try:
                left = publisher.get_num_connections() > 0
                publisher.publish(written(self._forms.of(kind), raw))
            except (self._rospy.ROSException, AttributeError):  # closed by another thread meanwhile
                left = False
        self.dropped += not left
        return left

    def call(self, service: str, kind: str, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Call a service and return its response; `kind` may be "", as the service tells it.

        Raises:
            LaminarError: it failed, there is none, its type is not installed here, or no answer came in time.
        """
        return services.call(self._master, self.types, service, kind, request, timeout)

    def serve(self, service: str, kind: str, answer: Answer) -> None:
        """Offer a service; calls are answered in threads of their own.

        Raises:
            LaminarError: its type is not installed here, it is offered already, or the master is away.
        """
        with self._lock:
            self._ready(service)
            if service in self._served or services.offered(self._master, service, _ANSWER):
                raise LaminarError(f"service {service} is offered already")
            self._served[service] = services.serve(self._rospy, self.types, service, kind, answer)

    def _ready(self, name: str) -> None:
        """Make sure that the master is there: rospy would wait for it without an end."""
        if not self.connected:
            raise LaminarError(f"no ROS 1 master answers at {self.address}, so it cannot be told of {name}")

    def _await_readers(self, topic: str, publisher: Any) -> None:
        _, readers, _ = self._master.ask("getSystemState")
        count = len(dict(readers).get(topic, ()))
        until = time.monotonic() + _READERS
        while publisher.get_num_connections() < count and time.monotonic() < until:
            time.sleep(0.001)

    def _taker(self, topic: str, one: _Topic) -> Callable[[Any], None]:
        """Return what takes messages from rospy's threads, of which each publisher has one."""
        inbox, form = self._inbox, self._forms.of(one.kind)
        assert inbox is not None

        def take(message: Any) -> None:
            arrival = time.monotonic()
            header = message._connection_header
            if (header.get("type"), header.get("md5sum")) != (form._type, form._md5sum):
                self._refuse(f"{topic} carries {header.get('type')}, not {form._type} as it is known here")
            elif arrival >= one.next:
                if one.reading.throttle_ms:
                    one.next = arrival + one.reading.throttle_ms / 1e3
                inbox.put(topic, message._buff, arrival)

        return take

    def _handle(self, topic: str, raw: bytes, arrival: float) -> None:
        """Decode a message and hand it on; called by the inbox's thread."""
        one = self._read.get(topic)
        if one is None:
            return
        try:
            message = self.types.from_ros1(one.kind, raw)
        except LaminarError as error:
            self._refuse(f"{topic}: {error}"[:300])
            return
        for handler in list(one.handlers):
            if self._closed.is_set():
                return
            try:
                handler(message, arrival)
            except Exception as error:  # of whoever reads the topic: the others go on
                self._wrong(f"handler of {topic}: {error!r}")

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        again, self.last_refusal = reason == self.last_refusal, reason
        if not again:
            self._tell(f"ROS 1 {self.address}: {reason}")

    def _wrong(self, line: str) -> None:
        again, self.last_error = line == self.last_error, line
        if not again:
            self._tell(f"ROS 1 {self.address}: {line}")

    def _watch(self) -> None:
        """Look at the master again and again; another one in its place has to be told of everything."""
        lost = 0.0
        while not self._closed.wait(_LOOK):
            try:
                found = self._master.ask("getPid")
            except LaminarError:
                self._there = False
                continue
            if found != self._pid:
                self._announce()
            elif time.monotonic() > lost:
                self._find()
                lost = time.monotonic() + _AGAIN
            self._pid = found
            self._there = not self._closed.is_set()

    def _announce(self) -> None:
        """Register everything again; connections between nodes stay as they are."""
        listeners, sort = self._registration()
        with self._lock:
            for topic, (_, publisher) in self._written.items():
                listeners.notify_added(topic, publisher.type, sort.PUB)
            for topic in self._read:
                listeners.notify_added(topic, "*", sort.SUB)
            for service, one in self._served.items():
                listeners.notify_added(service, one.uri, sort.SRV)

    def _find(self) -> None:
        """Ask again for those who write what is read: rospy gives up a connection that has broken."""
        listeners, sort = self._registration()
        with self._lock:
            for topic in [topic for topic, one in self._read.items() if not one.subscriber.get_num_connections()]:
                listeners.notify_added(topic, "*", sort.SUB)

    def _registration(self) -> tuple[Any, Any]:
        found = imported("rospy.impl.registration")
        return found.get_registration_listeners(), found.Registration
