"""Whether a process stood still: then what it reads next may have waited for it, and no command may."""

from __future__ import annotations

import asyncio
import time

_CAUGHT_UP = 0.1  # seconds until everything that has waited was read


class Pulse:
    """Beats in an event loop; of any thread.

    Attributes:
        max_age: seconds without a beat after which what is read may be too old; infinite for never.
    """

    def __init__(self, max_age: float) -> None:
        """Not beat yet."""
        self.max_age = max_age
        self._last, self._doubtful = time.monotonic(), float("-inf")

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            now = time.monotonic()
            if now - self._last > self.max_age:
                self._doubtful = now + _CAUGHT_UP
            self._last = now
            await asyncio.sleep(min(self.max_age / 4, 1.0))

    @property
    def stood_still(self) -> bool:
        """Whether what was read last may be older than `max_age`."""
        now = time.monotonic()
        return now - self._last > self.max_age or now < self._doubtful
