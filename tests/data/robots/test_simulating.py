"""Round trips: what a simulated robot shows is what is seen of it, and what it is commanded is what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from laminar.data.robots.description import Camera, Output, Part, Robot
from laminar.data.robots.messages import Types, stamp_of
from laminar.data.robots.observing import observation_of
from laminar.data.robots.reading import load_robot, robot_names
from laminar.data.robots.simulating import action_in, shown_by
from laminar.deploy.commands import messages_of
from laminar.errors import LaminarError

JOINTS, TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"


def any_observation(robot: Robot, rng: np.random.Generator) -> dict[str, Any]:
    found: dict[str, Any] = {}
    drawn: dict[tuple[str, str, str], float] = {}  # a number that two keys show is one
    for key, shown in robot.observation.items():
        if isinstance(shown, Camera):
            found[key] = rng.integers(0, 256, (shown.height, shown.width, 3), np.uint8)
            continue
        values: list[float] = []
        for part in shown:
            for name in part.names:
                value = rng.uniform(-1.5, 1.5) if part.euler else rng.normal(0, 9)
                values.append(drawn.setdefault((part.topic, part.field, name), value))
        found[key] = np.array(values, np.float32)
    return found


def check_seen(robot: Robot, types: Types, observation: dict[str, Any]) -> None:
    sent = shown_by(robot, types, observation, now=7.5)
    assert {*sent} == {*robot.read_topics()}
    assert all(stamp_of(message) == 7.5 for topic, message in sent.items() if types.has_header(robot.types[topic]))
    came = {
        topic: types.from_cdr(robot.types[topic], types.to_cdr(robot.types[topic], one)) for topic, one in sent.items()
    }
    seen = observation_of(robot, came)
    assert list(seen) == list(robot.observation)
    for key, value in observation.items():
        assert seen[key].dtype == value.dtype
        np.testing.assert_allclose(seen[key], value, rtol=1e-5, atol=1e-5 if value.dtype == np.float32 else 0)


@pytest.mark.parametrize("name", robot_names())
def test_what_is_shown_is_what_is_seen(name: str, types: Types) -> None:
    rng, robot = np.random.default_rng(0), load_robot(name)
    for _ in range(5):
        check_seen(robot, types, any_observation(robot, rng))


@pytest.mark.parametrize("name", robot_names())
def test_what_is_commanded_is_what_is_done(name: str, types: Types) -> None:
    rng, robot = np.random.default_rng(1), load_robot(name)
    for ahead in (1, 3, 5):
        commands = rng.normal(0, 2, (ahead, len(robot.action_names)))
        sent = messages_of(robot, types, commands, now=7.5)
        came = {
            topic: types.from_cdr(robot.types[topic], types.to_cdr(robot.types[topic], m)) for topic, m in sent.items()
        }
        np.testing.assert_allclose(action_in(robot, came), commands[0], rtol=1e-6)


def toy(observation: dict[str, Any], **types: str) -> Robot:
    kinds = {"/j": JOINTS, "/odom": "nav_msgs/msg/Odometry", "/array": "std_msgs/msg/Float32MultiArray"}
    kinds |= {"/count": "std_msgs/msg/Int32", "/on": "std_msgs/msg/Bool"} | types
    return Robot("toy", "ros2", 10.0, kinds, observation, ())


POSE = Part("/odom", "pose.pose.orientation", ("roll", "pitch", "yaw"), euler=True)


@pytest.mark.parametrize(
    "parts",
    [
        (Part("/j", "position", ("a", "b")), Part("/j", "velocity", ("a", "b"))),
        (Part("/j", "position", ("a", "b")), Part("/j", "velocity", ("c", "a")), Part("/j", "position", ("d",))),
        (Part("/j", "position", ("a",), scale=-2.0), Part("/j", "effort", ("b",), prefix="left_")),
        (Part("/odom", "pose.pose.position", ("x", "y", "z")), POSE),
        (Part("/odom", "pose.pose.position", ("tool_x", "tool_y", "tool_z")),),
        (Part("/odom", "pose.pose.position", ("z", "x", "y")),),
        (Part("/odom", "pose.pose.orientation", ("w", "x", "y", "z")),),
        (
            Part("/odom", "twist.twist.linear.x", ("speed",)),
            Part("/odom", "twist.twist.angular.z", ("turn",), scale=57.3),
        ),
        (Part("/array", "data", ("x", "y", "z")),),
        (Part("/array", "data", ("a",)),),
    ],
)
def test_parts_of_one_message(types: Types, parts: tuple[Part, ...]) -> None:
    """Two parts of joints once named them twice; other names than x, y, z, and single numbers, once were refused."""
    robot, rng = toy({"state": parts}), np.random.default_rng(2)
    for _ in range(10):
        check_seen(robot, types, any_observation(robot, rng))


def test_whole_numbers_are_rounded_to(types: Types) -> None:
    robot = toy({"state": (Part("/count", "data", ("n",)), Part("/on", "data", ("on",)))})
    seen = observation_of(robot, shown_by(robot, types, {"state": np.array([2.9999, 1.0], np.float32)}, 0.0))
    assert seen["state"].tolist() == [3.0, 1.0]


def test_compressed_pictures_lose_nothing(types: Types) -> None:
    robot = toy({"front": Camera("/c", 5, 7)}, **{"/c": "sensor_msgs/msg/CompressedImage"})
    check_seen(robot, types, any_observation(robot, np.random.default_rng(3)))


def test_keys_that_are_not_there_are_left_out(types: Types) -> None:
    robot = toy(
        {"a": (Part("/j", "position", ("a",)),), "front": Camera("/c", 5, 7)}, **{"/c": "sensor_msgs/msg/Image"}
    )
    assert [*shown_by(robot, types, {"a": np.zeros(1)}, 0.0)] == ["/j"]


def test_fields_that_are_none(types: Types) -> None:
    for part, why in (
        (
            Part("/odom", "pose.pose.positions", ("x",)),
            "nav_msgs/msg/Odometry has no field 'pose.pose.positions'",
        ),
        (Part("/odom", "pose.pose", ("x", "y")), "'pose.pose' of nav_msgs/msg/Odometry does not take 2 numbers"),
        (Part("/odom", "header.frame_id", ("x",)), "does not take 1 numbers"),
        (Part("/count", "data", ("a", "b")), "'data' of std_msgs/msg/Int32 does not take 2 numbers"),
    ):
        with pytest.raises(LaminarError, match=why):
            shown_by(toy({"state": (part,)}), types, {"state": np.zeros(part.width)}, 0.0)


def test_commands_that_are_none(types: Types) -> None:
    output = Output("/move", "positions", ("a", "b"), rest=(0.0, 0.0))
    robot = replace(toy({}, **{"/move": TRAJECTORY}), action=(output,))
    point = {"positions": [1.0, 2.0]}
    right = types.complete(TRAJECTORY, {"joint_names": ["b", "a"], "points": [point, {"positions": [8.0, 9.0]}]})
    assert action_in(robot, {"/move": right}).tolist() == [2.0, 1.0]
    for wrong, why in (
        ({"joint_names": ["a", "b"], "points": []}, "a trajectory without points"),
        ({"joint_names": ["a"], "points": [point]}, "1 names for 2 numbers"),
        ({"joint_names": ["a", "c"], "points": [point]}, "'b' is missing"),
        ({"joint_names": ["a", "b"], "points": [{"positions": [1.0, float("nan")]}]}, "b is nan"),
    ):
        with pytest.raises(LaminarError, match=rf"^/move: {why}"):
            action_in(robot, {"/move": types.complete(TRAJECTORY, wrong)})
    with pytest.raises(LaminarError, match=r"no message of /move \(there are those of no topic\)"):
        action_in(robot, {})
