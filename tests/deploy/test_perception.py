"""What a robot shows right now: clocks that differ, stand still or are set, and messages that say something else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from laminar.data.robots.description import Camera, Output, Part, Robot, Watch
from laminar.data.robots.messages import stamped
from laminar.deploy.perception import Perception
from laminar.deploy.record import Nothing
from laminar.deploy.transports.loopback import Bus, Loopback
from laminar.errors import LaminarError

JOINTS, IMAGE, NUMBER = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image", "std_msgs/msg/Float64"
PERIOD, HOUR = 0.05, 3600.0
ARM = Part("/joints", "position", ("shoulder", "elbow"))
ROBOT = Robot(
    name="toy",
    dialect="ros2",
    rate_hz=1 / PERIOD,
    types={"/joints": JOINTS, "/front": IMAGE, "/grip": NUMBER},
    observation={"state": (ARM, Part("/grip", "data", ("grip",))), "front": Camera("/front", 2, 3)},
    action=(Output("/move", "positions", ARM.names, (ARM,)), Output("/close", "data", ("close",), rest=(None,))),
    watch=Watch(arrival=0.2, stamp=0.2),
)
STAMPED = replace(ROBOT, observation={"state": (ARM,), "front": Camera("/front", 2, 3)})
PICTURE = {"height": 2, "width": 3, "encoding": "rgb8", "step": 9, "data": np.arange(18, dtype=np.uint8)}


class Heard(Nothing):
    """Keeps the topics of what has come."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def seen(self, topic: str, message: Any, seconds: float) -> None:
        self.topics.append(topic)


class Scene:
    """A robot that shows itself when told, on clocks that stand still in between.

    Attributes:
        time: of this machine's steady clock.
        ahead: seconds that its stamps are ahead of what this machine thinks.
        late: seconds that a picture is on its way.
        changes: topic -> what its messages say instead; None is no message.
    """

    def __init__(self, robot: Robot = ROBOT) -> None:
        self.time, self.ahead, self.late = 100.0, 0.0, 0.0
        self.changes: dict[str, dict[str, Any] | None] = {}
        bus = Bus(clock=lambda: self.time + 1e6, steady=lambda: self.time)
        self._side, transport, self.heard = Loopback(bus), Loopback(bus), Heard()
        self._side.open()
        transport.open()
        self.perception = Perception(robot, transport, self.heard, clock=lambda: self.time)
        self.perception.subscribe()

    def show(self, seconds: float = PERIOD) -> None:
        """Let so much time go by, and every topic send a message."""
        self.time += seconds
        now = self.time + 1e6 + self.ahead
        said = {
            "/joints": {"header": stamped(now), "name": ["elbow", "shoulder"], "position": [2.0, self.time]},
            "/grip": {"data": 0.5},
            "/front": PICTURE | {"header": stamped(now - self.late)},
        }
        for topic, message in said.items():
            change = self.changes.get(topic, {})
            if change is not None:
                self._side.publish(topic, ROBOT.types[topic], message | change)

    def begun(self) -> Scene:
        """Show some, look and calibrate, as an episode begins."""
        for _ in range(4):
            self.show()
            if self.perception.look() is not None:
                self.perception.calibrate()
                assert self.perception.trouble() == ""
                return self
        raise AssertionError(f"nothing seen: {self.perception.trouble()}")


def test_everything_at_one_instant() -> None:
    scene = Scene()
    assert scene.perception.look() is None
    assert scene.perception.pose(None) is None
    scene.begun()
    sight = scene.perception.last
    assert sight is not None
    assert sight.observation["state"].tolist() == [np.float32(scene.time), 2.0, 0.5]
    assert sight.observation["front"][0, 1].tolist() == [3, 4, 5]
    assert sight.arrival == scene.time
    assert sight.instant == pytest.approx(scene.time + 1e6)
    assert scene.perception.look() is None, "nothing new"
    scene.show()
    assert scene.perception.look() is not None
    assert {*scene.heard.topics} == {"/joints", "/grip", "/front"}


def test_a_late_picture_is_seen_with_what_belongs_to_it() -> None:
    scene = Scene()
    scene.late = 0.1
    scene.begun()
    scene.show()
    sight = scene.perception.look()
    assert sight is not None
    assert sight.instant == pytest.approx(scene.time + 1e6 - 0.1)
    assert sight.observation["state"][0] == pytest.approx(scene.time - 0.1), "not the newest"


def test_what_moves_nothing() -> None:
    scene = Scene().begun()
    assert scene.perception.pose(None) == pytest.approx([scene.time, 2.0, 0.0])
    assert scene.perception.pose(np.array([7.0, 8.0, 9.0])) == pytest.approx([scene.time, 2.0, 9.0])


def test_when_the_next_one_is_due() -> None:
    scene = Scene()
    assert not scene.perception.due(PERIOD)
    scene.begun()
    for passed, due in ((0.5, False), (0.4, True), (0.6, True), (0.2, False)):  # 0.5, 0.9, 1.5 and 1.7 periods
        scene.time += passed * PERIOD
        assert scene.perception.due(PERIOD) is due


@pytest.mark.parametrize("topic", [*ROBOT.types])
def test_messages_that_stop_coming(topic: str) -> None:
    scene = Scene().begun()
    scene.changes[topic] = None
    for _ in range(3):
        scene.show()
        assert scene.perception.trouble() == ""
    scene.show()
    scene.show()
    assert scene.perception.trouble() == f"no message of {topic} for 0.250 s"
    del scene.changes[topic]
    scene.show()
    assert scene.perception.trouble() == ""


@pytest.mark.parametrize("topic", [*ROBOT.types])
def test_messages_that_never_come(topic: str) -> None:
    scene = Scene()
    scene.changes[topic] = None
    scene.show()
    assert scene.perception.look() is None
    assert scene.perception.trouble() == f"no message of {topic} yet"


@pytest.mark.parametrize("topic", ["/joints", "/front"])
def test_stamps_that_stand_still(topic: str) -> None:
    """Such messages come in time, and say what was long ago."""
    scene = Scene().begun()
    scene.changes[topic] = {"header": stamped(scene.time + 1e6)}
    seen = [scene.perception.look() for _ in range(4) if scene.show() is None]
    assert seen.count(None) == 4, "there is no later instant"
    assert scene.perception.trouble() == ""
    scene.show()
    assert scene.perception.trouble().startswith(f"{topic} is stamped 0.250 s ago, and came just now")


@pytest.mark.parametrize(("jump", "why"), [(HOUR, "3600.000 s ahead: a clock"), (-HOUR, "3600.000 s ago, and came")])
def test_a_clock_that_is_set(jump: float, why: str) -> None:
    scene = Scene().begun()
    scene.ahead += jump
    scene.show()
    scene.perception.look()
    assert why in scene.perception.trouble()
    for _ in range(3):
        scene.show()
        assert why in scene.perception.trouble(), "as long as it is so"
    scene.perception.forget()
    scene.begun()  # a new episode allows for it


@pytest.mark.parametrize("stamped_all", [True, False])
@pytest.mark.parametrize("jump", [HOUR, -HOUR, -0.5])
def test_a_clock_that_is_set_and_set_back(jump: float, stamped_all: bool) -> None:
    """What was seen an hour ahead once was the latest for good: nothing was new until the next reset."""
    scene = Scene(STAMPED if stamped_all else ROBOT).begun()
    scene.ahead = jump
    scene.show()
    scene.perception.look()
    assert scene.perception.trouble() != ""
    scene.ahead = 0.0
    scene.show()
    scene.show()
    assert scene.perception.trouble() == ""
    assert scene.perception.look() is not None
    scene.show()
    assert scene.perception.look() is not None


@pytest.mark.parametrize("stampless", [True, False])
@pytest.mark.parametrize("ahead", [0.0, 5.0, -5.0, HOUR, -1e5])
def test_clocks_that_differ(ahead: float, stampless: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Messages without a stamp once counted as clocks that agree, and nothing had an instant in common."""
    scene = Scene()
    scene.ahead = ahead
    scene.changes = {"/front": {"header": {}}} if stampless else {}
    scene.begun()
    for _ in range(10):
        scene.show()
        sight = scene.perception.look()
        assert scene.perception.trouble() == ""
        assert sight is not None
        assert sight.instant == pytest.approx(scene.time + 1e6 + ahead)
    said = capsys.readouterr().err
    where = "ahead of" if ahead > 0 else "behind"
    assert said.count("\n") == (ahead != 0)
    assert (f"the clock of toy is {abs(ahead):.3f} s {where} this machine's" in said) == (ahead != 0)


def test_messages_without_a_stamp_wait_for_those_with_one() -> None:
    scene = Scene()
    scene.ahead = 5.0
    scene.show()
    assert scene.perception.look() is None
    assert scene.perception.trouble() == "no message of /grip yet", "and not that a clock was set"


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("/joints", {"name": ["elbow", "wrist"]}, r"/joints: 'shoulder' is missing \(it has elbow, wrist\)"),
    ("/joints", {"name": ["elbow"]}, "/joints: 1 names for 2 numbers of 'position'"),
    ("/joints", {"position": [1.0, float("nan")]}, "/joints: shoulder is nan"),
    ("/joints", {"position": [float("inf"), 1.0]}, "/joints: elbow is inf"),
    ("/grip", {"data": None}, "/grip: grip is nan"),
    ("/front", {"height": 3, "width": 2, "step": 6}, "/front: pictures are 3 x 2, expected 2 x 3"),
    ("/front", {"encoding": "32FC1"}, "/front: pictures are encoded as '32FC1'"),
    ("/front", {"data": np.zeros(17, np.uint8)}, "/front: 17 bytes are no 2 x 3 picture"),
]


@pytest.mark.parametrize(("topic", "change", "why"), WRONG)
def test_messages_that_cannot_be_understood(topic: str, change: dict[str, Any], why: str) -> None:
    scene = Scene().begun()
    before = scene.perception.last
    scene.changes[topic] = change
    scene.show()
    with pytest.raises(LaminarError, match=rf"^{why}"):
        scene.perception.look()
    assert scene.perception.last is before
    scene.changes = {}
    scene.show()
    assert scene.perception.look() is not None


def test_joints_in_another_order() -> None:
    scene = Scene().begun()
    scene.changes["/joints"] = {"name": ["shoulder", "wrist", "elbow"], "position": [1.0, 2.0, 3.0]}
    scene.show()
    sight = scene.perception.look()
    assert sight is not None
    assert sight.observation["state"].tolist() == [1.0, 3.0, 0.5]


def test_forgetting_what_was_before_a_reset() -> None:
    scene = Scene().begun()
    scene.perception.forget()
    assert scene.perception.last is None
    assert scene.perception.look() is None
    assert scene.perception.trouble() == "no message of /front yet"
    scene.begun()
