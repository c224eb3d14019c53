"""Every transport does what the interface says, whatever carries the messages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from laminar.data.robots.messages import Types
from laminar.deploy.rosbridge import Gateway, Rosbridge, Settings
from laminar.deploy.transport import Reading, Transport
from laminar.deploy.transports import TRANSPORTS
from laminar.deploy.transports.loopback import Bus, Loopback
from laminar.errors import LaminarError

STATE, IMAGE, FLAG = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image", "std_msgs/msg/Bool"
COMMAND, TRIGGER = "trajectory_msgs/msg/JointTrajectory", "std_srvs/srv/Trigger"
SETTINGS = {"ping": 5.0, "max_age": 5.0}  # a machine that is busy must not look like a network that is away
BRIDGED = [f"{dialect}-{code}" for dialect in ("ros1", "ros2") for code in ("json", "cbor", "cbor-raw")]
WAYS = ["loopback", *BRIDGED, pytest.param("rospy", marks=pytest.mark.ros)]
TYPES = Types()


@dataclass
class Pair:
    """A robot, and the transport that is looked at."""

    robot: Any
    transport: Transport
    reading: Reading
    settle: Callable[[], object]  # returns when everything sent so far was handled there
    strict: bool = False  # whether requests of services are looked at

    def reading_of(self, kind: str) -> Reading:
        """Return how to read a type: rosbridge of ROS 1 has no cbor for sequences of texts."""
        bridge = self.transport
        lost = isinstance(bridge, Rosbridge) and bridge.dialect.name == "ros1" and kind in (STATE, COMMAND)
        return Reading(encoding="json") if lost and self.reading.encoding == "cbor" else self.reading


class Sudden:
    """A robot of ROS 1 that says what it publishes as late as one on a bus; it shares the node, not the sockets."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def publish(self, topic: str, kind: str, message: dict[str, Any]) -> bool:
        self.transport.advertise(topic, kind)
        return self.transport.publish(topic, kind, message)


def on_ros(address: str) -> Iterator[Pair]:
    opened, types = TRANSPORTS.module("rospy").opened, Types()  # which get to know services, and are strict then
    robot, transport = opened(types, address), opened(types, address)
    yield Pair(Sudden(robot), transport, Reading(), lambda: None, strict=True)
    transport.close()
    robot.close()


@pytest.fixture(params=WAYS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "rospy":
        yield from on_ros(request.getfixturevalue("ros_master").address)
        return
    bus = Bus(types=TYPES)
    robot = Loopback(bus)
    robot.open()
    with ExitStack() as stack:
        if request.param == "loopback":
            transport: Transport = Loopback(bus)
            transport.open(1)
            yield Pair(robot, transport, Reading(), lambda: None)
        else:
            dialect, _, encoding = request.param.partition("-")
            gateway = stack.enter_context(Gateway(Loopback(bus), TYPES, dialect=dialect))
            bridge = Rosbridge(TYPES, Settings(gateway.url, **SETTINGS), dialect)
            bridge.open(5)
            settle = lambda: bridge.call("/rosapi/get_time", "", {}, 5)  # noqa: E731
            yield Pair(robot, bridge, Reading(encoding=encoding), settle)
            transport = bridge
        transport.close()


class Seen:
    """What a handler got."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._some = threading.Semaphore(0)

    def __call__(self, message: dict[str, Any], arrival: float) -> None:
        self.messages.append(message)
        self._some.release()

    def next(self) -> dict[str, Any]:
        assert self._some.acquire(timeout=5), "no message came"
        return self.messages[-1]


def filled(kind: str) -> dict[str, Any]:
    header = {"stamp": {"sec": 7, "nanosec": 500}, "frame_id": "base"}
    rng = np.random.default_rng(0)
    if kind == STATE:
        return {"header": header, "name": ["elbow", "wrist é"], "position": [0.5, -1e-12], "velocity": [1.0, 2.0]}
    if kind == IMAGE:
        data = rng.integers(0, 256, 96 * 96 * 3).astype(np.uint8)
        return {"header": header, "height": 96, "width": 96, "encoding": "rgb8", "step": 288, "data": data}
    if kind == COMMAND:
        points = [
            {"positions": rng.normal(size=7), "time_from_start": {"sec": i // 2, "nanosec": 5 * 10**8 * (i % 2)}}
            for i in range(8)
        ]
        return {"header": header, "joint_names": [f"joint{i}" for i in range(7)], "points": points}
    return {"data": True}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("kind", [STATE, IMAGE, COMMAND, FLAG])
class TestTopics:
    def test_from_the_robot(self, pair: Pair, kind: str) -> None:
        seen = Seen()
        pair.transport.subscribe("/it", kind, seen, pair.reading_of(kind))
        pair.settle()
        assert pair.robot.publish("/it", kind, filled(kind))
        assert same(seen.next(), TYPES.complete(kind, filled(kind)))

    def test_to_the_robot(self, pair: Pair, kind: str) -> None:
        seen = Seen()
        pair.robot.subscribe("/it", kind, seen)
        pair.transport.advertise("/it", kind)
        assert pair.transport.publish("/it", kind, filled(kind)) is True
        assert same(seen.next(), TYPES.complete(kind, filled(kind)))
        assert pair.transport.dropped == 0

    def test_what_is_none_of_its_type_is_refused(self, pair: Pair, kind: str) -> None:
        pair.transport.advertise("/it", kind)
        for wrong in ({"speed": 1.0}, {"header" if kind != FLAG else "data": "now"}):
            with pytest.raises(LaminarError):
                pair.transport.publish("/it", kind, wrong)


def test_every_handler_of_a_topic_is_called(pair: Pair) -> None:
    seen = [Seen(), Seen()]
    for one in seen:
        pair.transport.subscribe("/flag", FLAG, one)
    pair.settle()
    pair.robot.publish("/flag", FLAG, {"data": True})
    assert [one.next()["data"] for one in seen] == [True, True]


def test_a_topic_has_one_type(pair: Pair) -> None:
    pair.transport.advertise("/it", FLAG)
    with pytest.raises(LaminarError, match="/it carries"):
        pair.transport.advertise("/it", STATE)


def test_unknown_types(pair: Pair) -> None:
    for kind in ("sensor_msgs/msg/JointStat", "nonsense"):
        with pytest.raises(LaminarError, match="type of message"):
            pair.transport.subscribe("/it", kind, Seen())
        with pytest.raises(LaminarError, match="type of message"):
            pair.transport.advertise("/it", kind)


class TestServices:
    def test_of_the_robot(self, pair: Pair) -> None:
        pair.robot.serve("/reset", TRIGGER, lambda request: {"success": True, "message": f"got {request}"})
        more = {} if pair.strict else {"hard": True}
        found = pair.transport.call("/reset", TRIGGER, more, 5)
        assert found == {"success": True, "message": f"got {more}"}

    def test_of_ours(self, pair: Pair) -> None:
        pair.transport.serve("/stop", TRIGGER, lambda request: {"success": True, "message": f"got {request}"})
        pair.settle()
        more = {} if pair.strict else {"now": 1}
        assert pair.robot.call("/stop", TRIGGER, more, 5) == {"success": True, "message": f"got {more}"}

    def test_that_fail(self, pair: Pair) -> None:
        def fail(request: dict[str, Any]) -> dict[str, Any]:
            raise LaminarError("the brake is stuck")

        pair.robot.serve("/reset", TRIGGER, fail)
        with pytest.raises(LaminarError, match="the brake is stuck"):
            pair.transport.call("/reset", TRIGGER, {}, 5)
        pair.transport.serve("/stop", TRIGGER, fail)
        pair.settle()
        with pytest.raises(LaminarError, match="the brake is stuck"):
            pair.robot.call("/stop", TRIGGER, {}, 5)

    def test_that_there_are_none_of(self, pair: Pair) -> None:
        with pytest.raises(LaminarError, match="no service is called /nothing"):
            pair.transport.call("/nothing", TRIGGER, {}, 5)

    def test_of_another_type(self, pair: Pair) -> None:
        pair.robot.serve("/reset", TRIGGER, dict)
        with pytest.raises(LaminarError, match="is a std_srvs/srv/Trigger"):
            pair.transport.call("/reset", "std_srvs/srv/SetBool", {}, 5)

    def test_offered_twice(self, pair: Pair) -> None:
        pair.transport.serve("/stop", TRIGGER, dict)
        with pytest.raises(LaminarError, match="offered already"):
            pair.transport.serve("/stop", TRIGGER, dict)


class TestConnection:
    def test_closed_means_closed(self, pair: Pair) -> None:
        seen, here = Seen(), pair.transport
        here.subscribe("/flag", FLAG, seen)
        here.advertise("/back", FLAG)
        pair.settle()
        assert here.connected
        here.close()
        assert not here.connected
        pair.robot.publish("/flag", FLAG, {"data": True})
        assert here.publish("/back", FLAG, {"data": True}) is False
        assert here.dropped == 1
        assert seen.messages == []
        here.close()

    def test_before_it_is_open(self) -> None:
        bridge = Rosbridge(TYPES, Settings("ws://127.0.0.1:9"))
        for here in (Loopback(Bus(types=TYPES)), bridge):
            here.advertise("/flag", FLAG)
            assert not here.connected
            assert here.publish("/flag", FLAG, {"data": True}) is False
            assert here.dropped == 1

    def test_its_clock_is_the_robots(self, pair: Pair) -> None:
        assert abs(pair.transport.now() - pair.robot.now()) < 60


def test_the_family_opens_one() -> None:
    bus = Bus(types=TYPES)
    assert "rosbridge" in TRANSPORTS.names()
    with Gateway(Loopback(bus), TYPES, dialect="ros1") as gateway:
        bridge = TRANSPORTS.module("rosbridge").opened(TYPES, gateway.url, "ros1")
        assert bridge.connected
        bridge.close()
