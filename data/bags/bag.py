"""A bag of any kind as messages in the order they were written down."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import LaminarError
from ..robots.messages import Message, MessageError, Types, full_name

_LATE = 2_000_000_000  # nanoseconds that a message may stand behind others in the file


@dataclass(frozen=True)
class Raw:
    """A message as it lies in a bag.

    Attributes:
        topic: its topic.
        time: nanoseconds when it was written down, of the recording machine's clock.
        data: its binary form.
    """

    topic: str
    time: int
    data: bytes


@dataclass(frozen=True)
class Described:
    """What a bag says of its robot.

    Attributes:
        robot: its name.
        description: its YAML.
        keys: observations that are recorded; () for all.
    """

    robot: str
    description: str
    keys: tuple[str, ...] = ()


class Bag(ABC):
    """A bag that can be read again and again.

    Attributes:
        path: the file or folder.
        kinds: topic -> type of its messages, of the topics that were met so far.
        unread: what lies beside the messages, in words.
        cut: whether it stops in the middle, known after it was read.
    """

    def __init__(self, path: Path) -> None:
        """Have read nothing yet."""
        self.path = path
        self.kinds: dict[str, str] = {}
        self.unread: dict[str, None] = {}
        self.cut = False
        self._types = Types()
        self._forms: dict[str, str] = {}  # topic -> "cdr", "ros1", or another form that is not read
        self._definitions: dict[str, str] = {}  # type -> definition, of those that nobody has asked for yet

    @abstractmethod
    def stored(self) -> Iterator[Raw]:
        """Yield the messages as they lie in the bag.

        Raises:
            LaminarError: it is damaged.
        """

    def described(self) -> Described | None:
        """Return what the bag says of its robot; None where it says nothing.

        Raises:
            LaminarError: it is damaged.
        """
        return None

    def messages(self) -> Iterator[Raw]:
        """Yield the messages in order of time; one that is seconds late, where it stands."""
        return in_order(self.stored())

    def read(self, raw: Raw) -> Message:
        """Return what a message says.

        Raises:
            LaminarError: its type is unknown, or the bytes are none of it.
        """
        kind, form = self.kinds[raw.topic], self._forms[raw.topic]
        try:
            if form == "cdr":
                return self.types(kind).from_cdr(kind, raw.data)
            if form == "ros1":
                return self.types(kind).from_ros1(kind, raw.data)
        except MessageError as error:
            raise LaminarError(f"{self.path}: {raw.topic}: {error}") from error
        raise LaminarError(f"{self.path}: messages of {raw.topic} are written as {form!r:.40}, expected CDR or ROS 1's")

    def types(self, kind: str) -> Types:
        """Return definitions of messages, that of a type of this bag among them.

        Raises:
            MessageError: the bag's own definition cannot be read.
        """
        definition = self._definitions.pop(kind, "")
        if definition and kind not in self._types.store.fielddefs:
            self._types.add(kind, definition)
        return self._types

    def know(self, topic: str, kind: str, form: str, definition: str = "") -> None:
        """Note what a topic carries."""
        with suppress(MessageError):  # of another world, such as protobuf's
            kind = full_name(kind)
        before = self.kinds.setdefault(topic, kind)
        if kind not in before.split(" and "):
            self.kinds[topic] = f"{before} and {kind}"
        self._forms[topic] = form
        if definition:
            self._definitions.setdefault(kind, definition)


def in_order(messages: Iterable[Raw], late: int = _LATE) -> Iterator[Raw]:
    """Yield messages in order of time, as far as one that is too early comes within `late` nanoseconds.

    One that comes later still is where a clock was set back: it stays where it stands.
    """
    waiting: list[tuple[int, int, Raw]] = []
    newest = 0
    for number, raw in enumerate(messages):
        if waiting and raw.time < newest - late:
            yield from (one for _, _, one in sorted(waiting))
            waiting, newest = [], raw.time
        newest = max(newest, raw.time)
        heapq.heappush(waiting, (raw.time, number, raw))
        while waiting[0][0] < newest - late:
            yield heapq.heappop(waiting)[2]
    yield from (one for _, _, one in sorted(waiting))
