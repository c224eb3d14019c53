"""What was decoded a short while ago, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any

BUDGET = 256 << 20  # bytes of decoded pictures that streams of one data set keep


class Recent:
    """Values by key, as many as fit into a number of bytes: the ones that were not asked for longest go first.

    Attributes:
        held: bytes at present.
    """

    def __init__(self, budget: int | None = None) -> None:
        """Hold nothing yet, and never more than `budget` bytes; None is `BUDGET`."""
        self.held = 0
        self._budget = BUDGET if budget is None else budget
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Any | None:
        """Return a value, or None where it is not there any more."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of `size` bytes; one that is larger than all the room is not kept."""
        with self._lock:
            if key in self._values or size > self._budget:
                return
            self._values[key] = (value, size)
            self.held += size
            while self.held > self._budget:
                self.held -= self._values.popitem(last=False)[1][1]
