"""The control loop and its recording, in virtual time: what the robot has shown and was told is in the file, no more.

A few seconds of it here, ten minutes as a slow test.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from laminar.data.bags.opening import open_bag
from laminar.data.bags.words import EPISODE, OBSERVED, STATE
from laminar.data.load import load_episodes
from laminar.data.robots.description import Robot
from laminar.data.robots.messages import Types, stamped
from laminar.data.robots.reading import robot_from
from laminar.deploy.recorder import Recorder
from laminar.deploy.supervisor import State

from .test_recorder import same
from .toy_robot import RATE, Rig

IMAGE, STATES = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
EPISODES, LONG = 20, 600  # each of 30 s: ten minutes
TEXT = """
name: toy
rate_hz: 20
topics:
  /joints: sensor_msgs/msg/JointState
  /scene: sensor_msgs/msg/JointState
  /eye: sensor_msgs/msg/Image
  /move: trajectory_msgs/msg/JointTrajectory
observation:
  arm: [{topic: /joints, field: position, names: [shoulder, elbow]}]
  scene: [{topic: /scene, field: position, names: [drawer]}]
  eye: {topic: /eye, size: [12, 16]}
action:
  - topic: /move
    field: positions
    names: [shoulder, elbow]
    low: -1
    high: 1
    velocity: 2
    measured: [{topic: /joints, field: position, names: [shoulder, elbow]}]
watch: {arrival: 0.12, stamp: 0.12, actions: 0.3, transport: 0.12}
"""


class Twice(Recorder):
    """Keeps in memory what it writes."""

    def __init__(self, path: Path, robot: Robot) -> None:
        super().__init__(path, robot, Types())
        self.kept: list[tuple[str, int, Any]] = []

    def _put(self, topic: str, message: Mapping[str, Any], seconds: float, always: bool = False) -> None:
        self.kept.append((topic, round(seconds * 1e9), deepcopy(dict(message))))
        super()._put(topic, message, seconds, always)


class Seeing(Rig):
    """With a camera whose every picture is another one."""

    def show(self) -> None:
        pixels = self.random.integers(0, 256, 12 * 16 * 3, np.uint8)
        about = {"height": 12, "width": 16, "step": 48, "encoding": "rgb8", "data": pixels}
        self._side.publish("/eye", IMAGE, {"header": stamped(self.time + self.offset), **about})
        super().show()


def recorded(path: Path, monkeypatch: pytest.MonkeyPatch, episodes: int, periods: int) -> tuple[Seeing, Twice]:
    """Run some episodes, as fast as they go, of a policy that wants something else at every moment."""
    recorder = Twice(path, robot := robot_from(TEXT, "toy.yaml", "toy"))
    random = np.random.default_rng(1)
    rig = Seeing(lambda arm: random.uniform(-1, 1, (8, 2)), record=recorder, described=robot)
    rig.random, rig.offset = np.random.default_rng(0), 1.7e9
    for module in ("perception", "controller"):
        clock = SimpleNamespace(time=lambda: rig.time + rig.offset)
        monkeypatch.setattr(f"laminar.deploy.{module}.time", clock)
    for number in range(episodes):
        rig.show()
        recorder.mark("begin", rig.time + rig.offset)
        rig.start()
        assert set(rig.run(periods)) == {State.RUNNING}
        rig.supervisor.stop("the episode is over")
        recorder.mark("success" if number % 2 else "failure", rig.time + rig.offset)
        rig.run(5)
    recorder.close()
    return rig, recorder


def check(path: Path, rig: Seeing, recorder: Twice, episodes: int, periods: int) -> None:
    """The file has every message, its times and stamps; and the demonstrations in it are what was seen and done."""
    assert recorder.lost == 0
    bag = open_bag(path)
    found = list(bag.stored())
    assert [(raw.topic, raw.time) for raw in found] == [one[:2] for one in recorder.kept]
    for raw, (topic, _, message) in zip(found, recorder.kept, strict=True):
        if topic not in (EPISODE, STATE, OBSERVED):
            assert same(bag.read(raw), message), topic
    assert not bag.cut
    told = [message["points"][0]["positions"] for topic, _, message in recorder.kept if topic == "/move"]
    assert np.array_equal([points[0] for _, points in rig.commands], told), "what the robot has got"
    read = load_episodes(path)
    assert (read.num_episodes, len(read)) == (episodes, episodes * periods)
    assert read.success is not None
    assert read.success.tolist() == [bool(number % 2) for number in range(episodes)]
    assert np.array_equal(read.action, np.array(told, np.float32))
    assert np.array_equal(read.observation["arm"][1:periods], read.action[: periods - 1]), "it goes where it is told"
    eyes = [message["data"] for topic, _, message in recorder.kept if topic == "/eye"]
    places = {one.tobytes(): place for place, one in enumerate(eyes)}
    seen = [places[np.asarray(picture).tobytes()] for picture in read.observation["eye"][:periods]]
    assert seen == list(range(seen[0], seen[0] + periods)), "every picture, at its own moment"


def test_seconds_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "short.mcap"
    check(path, *recorded(path, monkeypatch, 2, 40), 2, 40)


@pytest.mark.slow
def test_ten_minutes_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.mcap"
    assert EPISODES * LONG / RATE == 600
    check(path, *recorded(path, monkeypatch, EPISODES, LONG), EPISODES, LONG)
