"""What the rest of this room asks of a connection to a robot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..data.robots.messages import Message

Handler = Callable[[Message, float], None]
"""Takes a message and when it arrived, `time.monotonic`; called by the transport's thread, so it has to return soon."""
Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes a request and returns the response of a service, both plain values; an error becomes a failed call."""


@dataclass(frozen=True)
class Reading:
    """How a topic is to be read.

    Attributes:
        throttle_ms: milliseconds between messages, at least; 0 for all of them.
        queue: messages that the other side may keep for us; the newest are kept.
        encoding: "json", "cbor" or "cbor-raw", of transports that have a choice; "" is the best for the type.
    """

    throttle_ms: int = 0
    queue: int = 1
    encoding: str = ""


EVERYTHING = Reading()


class Transport(Protocol):
    """Topics and services of a robot; of any thread.

    A connection that breaks comes back by itself, with every topic and service that was asked for. While it is away,
    messages are dropped, never kept: a robot must not do later what was meant for now.
    """

    dropped: int
    """Messages that were not sent because the connection was away."""

    echoes: bool
    """Whether a topic that is written to can be read as well, by which others who write to it are noticed."""

    def open(self, timeout: float) -> None:
        """Connect.

        Raises:
            LaminarError: it cannot within so many seconds; says why.
        """
        ...

    def close(self) -> None:
        """Leave; nothing arrives afterwards."""
        ...

    @property
    def connected(self) -> bool:
        """Whether messages go both ways at this moment, as far as one can know."""
        ...

    def now(self) -> float:
        """Seconds of the clock that the robot stamps its messages with."""
        ...

    def subscribe(self, topic: str, kind: str, handler: Handler, reading: Reading = EVERYTHING) -> None:
        """Have every message of a topic handled; a message that is none of its type is counted and left out.

        Args:
            topic: its full name.
            kind: type of its messages.
            handler: of each.
            reading: how.
        """
        ...

    def advertise(self, topic: str, kind: str) -> None:
        """Say that messages of a topic will come."""
        ...

    def publish(self, topic: str, kind: str, message: Mapping[str, Any]) -> bool:
        """Send a complete message of an advertised topic, and return whether it left; False has dropped it for good."""
        ...

    def call(self, service: str, kind: str, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Call a service and return its response; `kind` may be "" where its name is enough.

        Raises:
            LaminarError: it failed, there is none, or no answer came in time.
        """
        ...

    def serve(self, service: str, kind: str, answer: Answer) -> None:
        """Offer a service."""
        ...
