"""Between the thread that reads a socket and those who handle messages: the newest of each topic, and no older one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Inbox:
    """Hands items on in a thread of its own; one that was not taken when the next of its topic comes is left out.

    Attributes:
        skipped: items that were left out.
    """

    def __init__(self, handle: Callable[[str, Any, float], None]) -> None:
        """Hand on to `handle`, which must not raise: topic, item, and when it arrived."""
        self.skipped = 0
        self._handle, self._closed = handle, False
        self._waiting: dict[str, tuple[Any, float]] = {}  # in the order of their turn
        self._some = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="rosbridge handlers", daemon=True)
        self._thread.start()

    def put(self, topic: str, item: Any, arrival: float) -> None:
        """Have an item handled as soon as it is its topic's turn."""
        with self._some:
            if topic in self._waiting:
                self.skipped += 1
            self._waiting[topic] = item, arrival
            self._some.notify()

    def close(self) -> None:
        """Hand nothing on any more; returns when the last handler has, unless that is who calls."""
        with self._some:
            self._closed = True
            self._waiting.clear()
            self._some.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._some:
                self._some.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                topic = next(iter(self._waiting))
                item, arrival = self._waiting.pop(topic)
            self._handle(topic, item, arrival)
