"""Several sources that tick on their own, seen at one instant: live on a robot, and in a bag that is read.

An instant is one that every source has reached: that of the newest message of the slowest one. From each source comes
the newest message that is not younger, so that nothing of the future is seen, and what belongs together stays so.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...errors import LaminarError
from .messages import Message, stamp_of

_KEPT = 2.0  # seconds of a source: a slow one, such as a camera, is waited for by those that tick a thousand times
_MOST = 4096  # messages of a source, whatever its stamps
_OVERTAKEN = 0.1  # seconds that a message may come behind a later one; a stamp further back is of a clock that was set
_CLOSE = 1e-6  # seconds that two stamps of one moment may differ by


@dataclass(frozen=True)
class Seen:
    """A message, when it was measured, and when it came.

    Attributes:
        stamp: seconds of the robot's clock; of a message without one, when it came, in that clock.
        arrival: seconds of this machine's steady clock.
        message: the message.
    """

    stamp: float
    arrival: float
    message: Message


class Sources:
    """The newest messages of some topics; written to by one thread or several, read by others.

    Attributes:
        topics: of which an instant needs a message each.
    """

    def __init__(self, topics: list[str]) -> None:
        """Know nothing yet."""
        self.topics = list(topics)
        self._lock = threading.Lock()
        self._new = threading.Condition(self._lock)
        self._kept: dict[str, deque[Seen]] = {topic: deque(maxlen=_MOST) for topic in topics}

    def add(self, topic: str, message: Message, arrival: float, now: float) -> Seen:
        """Keep a message.

        Args:
            topic: one of `topics`.
            message: of it.
            arrival: of the steady clock.
            now: of the robot's clock, which stands for a stamp that is missing.
        """
        stamp = stamp_of(message)
        seen = Seen(now if stamp is None else stamp, arrival, message)
        with self._new:
            kept = self._kept[topic]
            if kept and seen.stamp == kept[-1].stamp:  # a frozen clock fills no memory
                kept[-1] = seen
            elif not kept or seen.stamp > kept[-1].stamp:
                kept.append(seen)
                while len(kept) > 1 and kept[1].stamp < seen.stamp - _KEPT:
                    kept.popleft()
            elif seen.stamp > kept[-1].stamp - _OVERTAKEN:  # put where it belongs
                later = [one for one in kept if one.stamp > seen.stamp]
                for _ in later:
                    kept.pop()
                kept.extend([seen, *later])
            else:  # begin anew; one stamp of the far future spoils nothing after it
                kept.clear()
                kept.append(seen)
            self._new.notify_all()
        return seen

    def clear(self, topics: Iterable[str] | None = None) -> None:
        """Forget the messages of some topics, or everything, such as what was before a reset."""
        with self._lock:
            for topic in self.topics if topics is None else topics:
                self._kept[topic].clear()

    def newest(self) -> dict[str, Seen]:
        """Return topic -> newest message, of the topics that have one."""
        with self._lock:
            return {topic: kept[-1] for topic, kept in self._kept.items() if kept}

    def wait(self, other: float | None, timeout: float) -> bool:
        """Wait until there is an instant, not `other`, at most so many seconds; returns whether there is."""
        with self._new:
            return self._new.wait_for(lambda: self._instant() not in (None, other), timeout)

    def instant(self) -> float | None:
        """Return the latest time that every source has reached, and was heard of before; None where there is none."""
        with self._lock:
            return self._instant()

    def spacing(self) -> float:
        """Return seconds between the last two messages of the slowest source; 0 before there are two."""
        with self._lock:
            ends = [(kept[-1].stamp, kept[-1].stamp - kept[-2].stamp) for kept in self._kept.values() if len(kept) > 1]
        return min(ends)[1] if len(ends) == len(self._kept) and ends else 0.0

    def _instant(self) -> float | None:
        if not all(self._kept.values()):
            return None
        instant = min(kept[-1].stamp for kept in self._kept.values())
        begun = max(kept[0].stamp for kept in self._kept.values())
        return instant if begun <= instant + _CLOSE else None

    def together(self) -> tuple[float, dict[str, Seen]] | None:
        """Return the latest instant and topic -> message of it; None before every source has reached one."""
        with self._lock:
            instant = self._instant()
            if instant is None:
                return None
            found = {topic: _before(kept, instant) for topic, kept in self._kept.items()}
        return instant, {topic: seen for topic, seen in found.items() if seen is not None}

    def at(self, instant: float) -> dict[str, Seen]:
        """Return topic -> newest message that is not younger than an instant.

        Raises:
            LaminarError: a source has none that is old enough.
        """
        with self._lock:
            found = {topic: _before(kept, instant) for topic, kept in self._kept.items()}
        late = [topic for topic, seen in found.items() if seen is None]
        if late:
            raise LaminarError(f"no message of {late[0]} is as old as {instant:.3f} s")
        return {topic: seen for topic, seen in found.items() if seen is not None}


def _before(kept: deque[Seen], instant: float) -> Seen | None:
    for seen in reversed(kept):
        if seen.stamp <= instant + _CLOSE:
            return seen
    return None


def messages(seen: Mapping[str, Seen]) -> dict[str, Message]:
    """Return topic -> message."""
    return {topic: one.message for topic, one in seen.items()}
