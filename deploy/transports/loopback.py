"""Topics and services inside one process: a bus, on which a simulated robot, a gateway and a controller meet."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...data.robots.messages import Message, Types, full_name
from ...errors import LaminarError
from ..transport import EVERYTHING, Answer, Handler, Reading


@dataclass
class Bus:
    """What is connected to each other.

    Attributes:
        clock: seconds of the stamps.
        steady: seconds of arrivals.
        types: definitions of the messages, which are made complete on their way.
    """

    clock: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    types: Types = field(default_factory=Types)

    def __post_init__(self) -> None:
        """Nobody is there yet."""
        self.lock = threading.RLock()
        self.kinds: dict[str, str] = {}  # topic -> type
        self.services: dict[str, tuple[Loopback, str, Answer]] = {}
        self.readers: dict[str, list[tuple[Loopback, Handler]]] = defaultdict(list)

    def has(self, topic: str, kind: str) -> None:
        """Note the type of a topic.

        Raises:
            LaminarError: it has another one, or there is no such type.
        """
        self.types.fields(kind)
        kind = full_name(kind)
        with self.lock:
            known = self.kinds.setdefault(topic, kind)
        if known != kind:
            raise LaminarError(f"topic {topic} carries {known}, not {kind}")


class Loopback:
    """A transport on a bus: a message is handled in the thread that publishes it, before `publish` returns."""

    echoes = True

    def __init__(self, bus: Bus) -> None:
        """Belong to a bus; `open` connects."""
        self.bus, self.dropped = bus, 0
        self._open = False

    def open(self, timeout: float = 0.0) -> None:
        """Connect, at once."""
        self._open = True

    def close(self) -> None:
        """Leave the bus."""
        self._open = False
        with self.bus.lock:
            for readers in self.bus.readers.values():
                readers[:] = [one for one in readers if one[0] is not self]
            for name in [name for name, (owner, _, _) in self.bus.services.items() if owner is self]:
                del self.bus.services[name]

    @property
    def connected(self) -> bool:
        """Whether it was opened."""
        return self._open

    def now(self) -> float:
        """Seconds of the bus's clock."""
        return self.bus.clock()

    def subscribe(self, topic: str, kind: str, handler: Handler, reading: Reading = EVERYTHING) -> None:
        """Have every message of a topic handled; all of them, whatever `reading` says, as nothing waits here."""
        self.bus.has(topic, kind)
        with self.bus.lock:
            self.bus.readers[topic].append((self, handler))

    def advertise(self, topic: str, kind: str) -> None:
        """Say that messages of a topic will come."""
        self.bus.has(topic, kind)

    def publish(self, topic: str, kind: str, message: Mapping[str, Any]) -> bool:
        """Hand a message to all that read its topic."""
        if not self._open:
            self.dropped += 1
            return False
        self.bus.has(topic, kind)
        whole: Message = self.bus.types.complete(kind, message)
        with self.bus.lock:
            readers = list(self.bus.readers[topic])
        arrival = self.bus.steady()
        for _, handler in readers:
            handler(whole, arrival)
        return True

    def call(self, service: str, kind: str, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Call a service and return its response.

        Raises:
            LaminarError: there is none of this name and type, or what it raises.
        """
        with self.bus.lock:
            owner, offered, answer = self.bus.services.get(service, (None, "", None))
        if owner is None or answer is None:
            raise LaminarError(f"no service is called {service} (there are {sorted(self.bus.services)})")
        if kind not in ("", offered):
            raise LaminarError(f"service {service} is a {offered}, not a {kind}")
        return answer(dict(request))

    def serve(self, service: str, kind: str, answer: Answer) -> None:
        """Offer a service.

        Raises:
            LaminarError: somebody else does.
        """
        with self.bus.lock:
            if service in self.bus.services:
                raise LaminarError(f"service {service} is offered already")
            self.bus.services[service] = (self, kind, answer)
