"""The second reading of a bag: what the robot showed at each action, and after the last one."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ...errors import LaminarError
from ..robots.aligning import Sources, messages
from ..robots.description import Robot
from ..robots.messages import stamp_of
from ..robots.observing import observation_of
from .actions import Act
from .bag import Bag
from .cutting import Stretch
from .rows import Rows
from .told import Told

_OTHER_CLOCK = 60.0  # seconds between a stamp and the recording machine's time that are no latency
_SOON = 0.75  # of a period, after which a new observation follows from the last action
_EARLY = 0.5  # of a period, the same where an end was marked, as a reset may follow
_LATE = 1.5  # of a period, within which an observation that was marked follows from the last action
_LONGEST = 1.0  # seconds that the observation after the last action may take


@dataclass
class Shown:
    """A stretch with what was seen.

    Attributes:
        acts: those at which something was seen.
        rows: the number of each one's row.
        final: row after the last action; None where the bag has none.
        outcome: as in `Stretch`.
    """

    acts: list[Act] = field(default_factory=lambda: [])
    rows: list[int] = field(default_factory=lambda: [])
    final: int | None = None
    outcome: str = ""


class Onlooker:
    """Goes through a bag once, from stretch to stretch.

    Attributes:
        rows: what was seen.
        unseen: reason -> number of actions that are left out for it.
    """

    def __init__(self, bag: Bag, robot: Robot, told: Told) -> None:
        """Begin before the first message."""
        self.rows, self.unseen = Rows(), Counter[str]()
        self._bag, self._robot, self._told = bag, robot, told
        self._stream = enumerate(bag.messages())
        self._sources = Sources(robot.seen_topics())
        self._place = -1
        self._ahead: float | None = None  # seconds of the robot's clock before the bag's, where they are two clocks
        self._instant = float("-inf")  # of the last row

    def watch(self, stretch: Stretch, until: int) -> list[Shown]:
        """Look at the robot at each action; where something is missing, a stretch becomes several.

        Args:
            stretch: behind those that were watched.
            until: place of what comes after it.

        Raises:
            LaminarError: a message does not have what it should.
        """
        found = [Shown()]
        for act in stretch.acts:
            row = self._at(act)
            if row is not None:
                found[-1].acts.append(act)
                found[-1].rows.append(row)
            elif found[-1].acts:
                found.append(Shown())
        if not found[-1].acts:
            return found[:-1]
        found[-1].outcome = stretch.outcome
        found[-1].final = self._after(stretch, until)
        return found

    def _at(self, act: Act) -> int | None:
        self._forward(act.place)
        instant = act.instant
        if instant is None:
            instant = self._sources.instant()
            if instant is None:
                return self._leave_out("come before every topic was heard of")
            newest = self._sources.newest()
            late = [topic for topic, seen in newest.items() if act.seconds - seen.arrival > self._robot.watch.arrival]
            if late:
                return self._leave_out(f"come while {late[0]} was silent for more than {self._robot.watch.arrival:g} s")
        return self._row(instant)

    def _leave_out(self, why: str) -> None:
        self.unseen[why] += 1

    def _row(self, instant: float) -> int | None:
        try:
            seen = self._sources.at(instant)
        except LaminarError:
            return self._leave_out("were computed from what the bag does not have")
        try:
            row = self.rows.add(observation_of(self._robot, messages(seen)))
        except LaminarError as error:
            raise LaminarError(f"{self._bag.path}: at {self._told.seconds(self._place):.3f} s: {error}") from error
        self._instant = instant
        return row

    def _after(self, stretch: Stretch, until: int) -> int | None:
        """Return the row of the observation after the last action: a marked one, or what is new a period later."""
        last, period = stretch.acts[-1], 1 / self._robot.rate_hz
        index = bisect_right(self._told.observed, (last.place, float("inf")))
        if index < len(self._told.observed):
            place, instant = self._told.observed[index]
            if place < until and self._told.seconds(place) < last.seconds + _LATE * period:
                self._forward(place)
                return self._row(instant)
        wanted = min(last.seconds + _SOON * period, max(stretch.end, last.seconds + _EARLY * period))
        while self._place + 1 < until:
            self._forward(self._place + 1)
            seconds = self._told.seconds(self._place)
            instant = self._sources.instant()
            if seconds >= wanted and instant is not None and instant > self._instant:
                return self._row(instant)
            if seconds > last.seconds + _LONGEST:
                return None
        instant = self._sources.instant()
        return None if instant is None or instant <= self._instant else self._row(instant)

    def _forward(self, place: int) -> None:
        """Take in all messages up to a place."""
        while self._place < place:
            self._place, raw = next(self._stream)
            if raw.topic in self._sources.topics:
                message = self._bag.read(raw)
                self._sources.add(raw.topic, message, self._told.seconds(self._place), self._now(message, raw.time))

    def _now(self, message: dict[str, Any], time: int) -> float:
        """Return the robot's clock when a message came, as its stamps tell it."""
        written, stamp = time * 1e-9, stamp_of(message)
        if stamp is not None:
            self._ahead = stamp - written if self._ahead is None else max(self._ahead, stamp - written)
        ahead = self._ahead or 0.0
        return written + ahead if abs(ahead) > _OTHER_CLOCK else written
