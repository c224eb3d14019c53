"""The first reading of a bag: what was commanded and marked, and how many messages of each topic there are."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError, nearest
from ..robots.commanded import told
from ..robots.description import Robot
from ..robots.messages import Message, full_name
from ..robots.placing import check_fields
from .bag import Bag, Raw
from .words import EPISODE, INSTRUCTION, KINDS, OBSERVED, STATE

Array = NDArray[Any]


@dataclass(frozen=True)
class Command:
    """One message that moves the robot.

    Attributes:
        place: its number among all messages of the bag.
        topic: its topic.
        values: (k,) of all outputs of that topic, in their order.
    """

    place: int
    topic: str
    values: Array


@dataclass
class Told:
    """What a bag tells beside observations; places are numbers of messages, in the order that `Bag.messages` has.

    Attributes:
        times: nanoseconds of every message, by its place.
        counts: topic -> number of messages.
        commands: all of them.
        observed: place of a mark -> the instant, in seconds of the robot's clock.
        marks: (place, text) of the operator's.
        states: (place, text) of the supervisor's.
        words: (place, text) that the policy of a recording of ours was told.
        heard: (place, text) on the topic by which the robot was told what to do.
    """

    times: array[int] = field(default_factory=lambda: array("q"))
    counts: Counter[str] = field(default_factory=lambda: Counter[str]())
    commands: list[Command] = field(default_factory=lambda: [])
    observed: list[tuple[int, float]] = field(default_factory=lambda: [])
    marks: list[tuple[int, str]] = field(default_factory=lambda: [])
    states: list[tuple[int, str]] = field(default_factory=lambda: [])
    words: list[tuple[int, str]] = field(default_factory=lambda: [])
    heard: list[tuple[int, str]] = field(default_factory=lambda: [])

    def seconds(self, place: int) -> float:
        """Return when a message was written down, from the first one on."""
        return (self.times[place] - self.times[0]) * 1e-9


def listen(bag: Bag, robot: Robot) -> Told:
    """Read a bag's commands and marks.

    Raises:
        LaminarError: it is damaged, or not of this robot.
    """
    found = Told()
    commanded = set(robot.command_topics())
    described = commanded | {part.topic for part in robot.parts()}
    for place, raw in enumerate(bag.messages()):
        found.times.append(raw.time)
        found.counts[raw.topic] += 1
        if raw.topic in described and found.counts[raw.topic] == 1:
            _check_fields(bag, robot, raw.topic)
        if raw.topic in commanded:
            values = _values(bag, robot, raw, found.seconds(place))
            found.commands.append(Command(place, raw.topic, values))
        elif raw.topic == OBSERVED:
            instant = bag.read(raw)
            found.observed.append((place, instant["sec"] + 1e-9 * instant["nanosec"]))
        elif raw.topic == EPISODE:
            found.marks.append((place, bag.read(raw)["data"]))
        elif raw.topic == STATE:
            found.states.append((place, bag.read(raw)["data"]))
        elif raw.topic == robot.instruction:
            if found.counts[raw.topic] == 1:
                _check_kind(bag, robot, raw.topic)
            found.heard.append((place, bag.read(raw)["data"]))
        elif raw.topic == INSTRUCTION:
            found.words.append((place, bag.read(raw)["data"]))
    _check_topics(bag, robot, found)
    return found


def _values(bag: Bag, robot: Robot, raw: Raw, seconds: float) -> Array:
    message: Message = bag.read(raw)
    try:
        parts = [told(output, message) for output in robot.action if output.topic == raw.topic]
    except LaminarError as error:
        raise LaminarError(f"{bag.path}: at {seconds:.3f} s: {error}") from error
    return np.concatenate(parts)


def _check_topics(bag: Bag, robot: Robot, found: Told) -> None:
    for topic in [*robot.command_topics(), *robot.seen_topics()]:
        if topic not in found.counts:
            there = sorted(one for one in found.counts if one not in KINDS)
            raise LaminarError(
                f"{bag.path}: has no messages of {topic}, which robot {robot.name} ({robot.source}) needs; it has "
                f"{', '.join(there) or 'none'}{nearest(topic, there)}"
            )
        _check_kind(bag, robot, topic)


def _check_fields(bag: Bag, robot: Robot, topic: str) -> None:
    _check_kind(bag, robot, topic)
    try:
        check_fields(robot, topic, bag.types(bag.kinds[topic]))
    except LaminarError as error:
        raise LaminarError(f"{bag.path}: {error}; correct the description {robot.source}") from error


def _check_kind(bag: Bag, robot: Robot, topic: str) -> None:
    kind, described = bag.kinds[topic], full_name(robot.types[topic])
    if kind != described:
        raise LaminarError(
            f"{bag.path}: {topic} carries {kind}, and by the description of robot {robot.name} ({robot.source}) "
            f"{described}; correct the description"
        )
