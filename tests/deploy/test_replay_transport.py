"""A recording in the place of a robot: it is seen again, at its pace, and nothing moves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.robots.messages import Types, stamped
from laminar.data.robots.reading import load_robot
from laminar.deploy.recorder import Recorder
from laminar.deploy.transports.replay import opened
from laminar.errors import LaminarError

from .test_run import YAML

STATES = "sensor_msgs/msg/JointState"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten messages in half a second, of a day long ago."""
    (tmp_path / "line.yaml").write_text(YAML)
    robot, types, begin = load_robot(str(tmp_path / "line.yaml")), Types(), 1.6e9
    with Recorder(tmp_path / "old.mcap", robot, types) as recorder:
        for index in range(10):
            at = begin + 0.05 * index
            message = {"header": stamped(at), "name": ["x", "y"], "position": np.array([float(index), 0.0])}
            recorder.seen("/line/place", types.complete(STATES, message), at)
    return tmp_path / "old.mcap"


def until(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_was_shown_comes_again_at_its_pace(recording: Path) -> None:
    transport, came = opened(Types(), str(recording)), list[tuple[float, float, float]]()
    assert transport.connected
    transport.subscribe(
        "/line/place",
        STATES,
        lambda message, arrival: came.append((arrival, message["position"][0], transport.now())),
    )
    until(lambda: len(came) == 10)
    assert [place for _, place, _ in came] == list(range(10))
    assert 0.4 < came[-1][0] - came[0][0] < 2.0, "half a second, or a little more on a busy machine"
    assert came[0][2] == pytest.approx(1.6e9, abs=0.2), "its clock is that of the recording"
    until(lambda: not transport.connected)
    transport.close()


def test_commands_go_nowhere_and_a_reset_succeeds(recording: Path) -> None:
    transport = opened(Types(), str(recording))
    transport.advertise("/line/push", "std_msgs/msg/Float64MultiArray")
    assert transport.publish("/line/push", "std_msgs/msg/Float64MultiArray", {})
    assert transport.call("/line/reset", "std_srvs/srv/Trigger", {}, 1.0)["success"]
    transport.close()
    assert not transport.connected


def test_what_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match="no such file"):
        opened(Types(), str(tmp_path / "none.mcap"))


def test_a_topic_of_another_type_stops_it_with_the_reason(recording: Path, capfd: Any) -> None:
    transport = opened(Types(), str(recording))
    transport.subscribe("/line/place", "std_msgs/msg/Bool", lambda message, arrival: None)
    until(lambda: not transport.connected)
    assert "carries sensor_msgs/msg/JointState, not std_msgs/msg/Bool" in capfd.readouterr().err
    transport.close()
