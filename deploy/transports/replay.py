"""A recording in the place of a robot: what it showed comes again, at the pace at which it came.

    laminar deploy policy.path=runs/arm robot=my_arm.yaml transport=replay url=yesterday.mcap dry_run=true

So perception, timing and planning are tried on what a real robot has shown. Nothing moves: what is commanded is
accepted and goes nowhere. How far a policy is from what was done then tells `laminar replay`.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ...data.bags.bag import Bag, Raw
from ...data.bags.opening import open_bag
from ...data.load import existing_file
from ...data.robots.messages import Types
from ...errors import LaminarError
from ...progress import tell
from ..transport import EVERYTHING, Answer, Handler, Reading

_READY = {"success": True, "message": "a recording has no start"}


def opened(
    types: Types, address: str, dialect: str = "ros2", token: str | None = None, timeout: float = 5.0
) -> Recorded:
    """Return a recording that will be played.

    Args:
        types: not used: a bag has its own.
        address: file or folder of the bag.
        dialect: not used: a bag tells.
        token: not used.
        timeout: not used: a file is there or not.

    Raises:
        LaminarError: it is missing, or no bag.
    """
    recorded = Recorded(open_bag(existing_file(address)))
    recorded.open(timeout)
    return recorded


class Recorded:
    """A transport whose topics are those of a bag; it is played once, from the first subscription on.

    Attributes:
        dropped: 0, as nothing is sent.
        played: messages that were handled.
    """

    echoes = False

    def __init__(self, bag: Bag) -> None:
        """Play nothing before `open` and a subscription."""
        self.dropped = self.played = 0
        self._bag = bag
        self._handlers: dict[str, list[Handler]] = defaultdict(list)
        self._kinds: dict[str, str] = {}
        self._over, self._wanted = threading.Event(), threading.Event()
        self._start: tuple[float, float] | None = None  # steady seconds, and those of the recording
        self._thread = threading.Thread(target=self._play, name="replay", daemon=True)

    def open(self, timeout: float = 0.0) -> None:
        """Begin, as soon as somebody listens."""
        self._thread.start()

    def close(self) -> None:
        """Stop; nothing arrives afterwards."""
        self._over.set()
        self._wanted.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    @property
    def connected(self) -> bool:
        """Whether there is more to come."""
        return self._thread.is_alive() and not self._over.is_set()

    def now(self) -> float:
        """Seconds of the recording's clock."""
        if self._start is None:
            return time.time()
        steady, recorded = self._start
        return recorded + time.monotonic() - steady

    def subscribe(self, topic: str, kind: str, handler: Handler, reading: Reading = EVERYTHING) -> None:
        """Have every recorded message of a topic handled."""
        self._kinds[topic] = kind
        self._handlers[topic].append(handler)
        self._wanted.set()

    def advertise(self, topic: str, kind: str) -> None:
        """Do nothing: nobody listens."""

    def publish(self, topic: str, kind: str, message: Mapping[str, Any]) -> bool:
        """Accept a message; it goes nowhere."""
        return True

    def call(self, service: str, kind: str, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Answer as if it had worked: a recording cannot be reset."""
        return dict(_READY)

    def serve(self, service: str, kind: str, answer: Answer) -> None:
        """Do nothing: nobody calls."""

    def _play(self) -> None:
        """Hand out messages when they are due."""
        self._wanted.wait()
        try:
            for raw in self._bag.messages():
                if self._over.is_set() or not self._due(raw):
                    return
                self._hand_out(raw)
        except LaminarError as error:
            tell(f"the recording stops here: {error}")

    def _due(self, raw: Raw) -> bool:
        """Wait until a message is due; False where it was closed meanwhile."""
        at = 1e-9 * raw.time
        if self._start is None:
            self._start = time.monotonic(), at
        return not self._over.wait(max(0.0, at - self.now()))

    def _hand_out(self, raw: Raw) -> None:
        handlers = self._handlers.get(raw.topic)
        if not handlers:
            return
        if self._bag.kinds[raw.topic] != self._kinds[raw.topic]:
            raise LaminarError(f"{raw.topic} carries {self._bag.kinds[raw.topic]}, not {self._kinds[raw.topic]}")
        message, arrival = self._bag.read(raw), time.monotonic()
        self.played += 1
        for handler in handlers:
            handler(message, arrival)
