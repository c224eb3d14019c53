"""What a robot shows right now, and whether that can be relied on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from numpy.typing import NDArray

from ..data.robots.aligning import Seen, Sources, messages
from ..data.robots.description import Robot
from ..data.robots.messages import Message, stamp_of
from ..data.robots.observing import measured_pose, observation_of
from ..progress import tell
from .record import NOTHING, Record
from .transport import Transport

Array = NDArray[Any]
_APART = 0.05  # seconds that two clocks may differ by without a word


@dataclass(frozen=True)
class Sight:
    """Everything at one instant.

    Attributes:
        instant: seconds of the robot's clock.
        arrival: of the last message that it needed, in this machine's steady clock.
        observation: key -> (n,) or (height, width, 3).
        messages: topic -> message.
    """

    instant: float
    arrival: float
    observation: dict[str, Array]
    messages: dict[str, Message]


class Perception:
    """Reads a robot's topics.

    Clocks of two machines differ. By how much is measured by `calibrate`, told, and taken into account; a stamp that is
    too old or ahead afterwards is trouble, whether it stands still or a clock was set.
    """

    def __init__(
        self,
        robot: Robot,
        transport: Transport,
        record: Record = NOTHING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """See nothing before `subscribe`."""
        self.robot, self.sources = robot, Sources(robot.read_topics())
        self._transport, self._record, self._clock = transport, record, clock
        self._offset = 0.0  # seconds that this machine's idea of the robot's clock is ahead of its stamps
        self._last: Sight | None = None

    def subscribe(self) -> None:
        """Read what observations and measured commands need."""
        for topic in self.sources.topics:
            self._transport.subscribe(topic, self.robot.types[topic], self._reader(topic))

    def _reader(self, topic: str) -> Callable[[Message, float], None]:
        def read(message: Message, arrival: float) -> None:
            self.sources.add(topic, message, arrival, self.now())
            self._record.seen(topic, message, time.time())

        return read

    def calibrate(self) -> None:
        """Measure how far the clocks are apart, from the newest message of each topic that has stamps."""
        newest = self.sources.newest()
        unstamped = [topic for topic, seen in newest.items() if stamp_of(seen.message) is None]
        apart = [
            self._transport.now() - (self._clock() - seen.arrival) - seen.stamp
            for topic, seen in newest.items()
            if topic not in unstamped
        ]
        before, self._offset = self._offset, median(apart) if apart else self._offset
        if abs(self._offset - before) > _APART:
            where = f"{abs(self._offset):.3f} s {'behind' if self._offset > 0 else 'ahead of'}"
            tell(f"the clock of {self.robot.name} is {where} this machine's: allowed for")
            self.sources.clear(unstamped)  # they were given a time of the clock as it was thought to be

    def look(self, wait: float = 0.0) -> Sight | None:
        """Return what is there and was not at the last call; None where nothing is.

        A clock that was set back shows here as well: whether to rely on it says `trouble`.

        Args:
            wait: seconds to wait for it at most.

        Raises:
            LaminarError: a message does not have what it should; names topic and number.
        """
        if self._last is None:
            self.calibrate()
        before = None if self._last is None else self._last.instant
        if wait > 0:
            self.sources.wait(before, wait)
        found = self.sources.together()
        if found is None or found[0] == before:
            return None
        instant, seen = found
        shown = messages(seen)
        arrival = max(one.arrival for one in seen.values())
        self._last = Sight(instant, arrival, observation_of(self.robot, shown), shown)
        return self._last

    def now(self) -> float:
        """Return this moment in the robot's clock, as commands are stamped: `calibrate` knows how far it is apart."""
        return self._transport.now() - self._offset

    @property
    def last(self) -> Sight | None:
        """What the last `look` that saw something has returned."""
        return self._last

    def in_step(self, period: float) -> bool:
        """Whether the robot shows itself about once a control period, so that those can begin when it does."""
        return 0.7 * period < self.sources.spacing() < 1.4 * period

    def due(self, period: float) -> bool:
        """Whether the next observation should come at about this moment, at one a control period."""
        return self._last is not None and 0.7 * period < self._clock() - self._last.arrival < 1.6 * period

    def forget(self) -> None:
        """Forget what was seen, such as before a reset."""
        self.sources.clear()
        self._last = None

    def pose(self, before: Array | None) -> Array | None:
        """Return (A,) the command that moves nothing, `measured_pose`; None before anything was seen."""
        return None if self._last is None else measured_pose(self.robot, self._last.messages, before)

    def trouble(self) -> str:
        """Return why what is seen is not to be relied on; "" where it is."""
        newest, now, watch = self.sources.newest(), self._clock(), self.robot.watch
        for topic in self.sources.topics:
            if topic not in newest:
                return f"no message of {topic} yet"
            found = self._late(topic, newest[topic], now, watch.arrival, watch.stamp)
            if found:
                return found
        return ""

    def _late(self, topic: str, seen: Seen, now: float, arrival: float, stamp: float) -> str:
        if now - seen.arrival > arrival:
            return f"no message of {topic} for {now - seen.arrival:.3f} s"
        age = self.now() - seen.stamp
        if age > stamp:
            return f"{topic} is stamped {age:.3f} s ago, and came just now: its stamps stand still, or a clock was set"
        if age < -stamp:
            return f"{topic} is stamped {-age:.3f} s ahead: a clock was set"
        return ""
