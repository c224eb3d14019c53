"""Numbers of an action as the messages of a robot's topics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from laminar.data.robots.description import Output, Robot
from laminar.data.robots.messages import Types, stamp_of
from laminar.data.robots.reading import load_robot
from laminar.deploy.commands import check_outputs, limits_of, messages_of
from laminar.errors import LaminarError

KINDS = {
    "/joints": "sensor_msgs/msg/JointState",
    "/move": "trajectory_msgs/msg/JointTrajectory",
    "/pose": "geometry_msgs/msg/PoseStamped",
    "/twist": "geometry_msgs/msg/Twist",
    "/array": "std_msgs/msg/Float64MultiArray",
    "/number": "std_msgs/msg/Float64",
    "/whole": "std_msgs/msg/Int32",
    "/wholes": "std_msgs/msg/Int32MultiArray",
    "/bool": "std_msgs/msg/Bool",
    "/text": "std_msgs/msg/String",
    "/polygon": "geometry_msgs/msg/Polygon",
}


@pytest.fixture(scope="module")
def types() -> Types:
    return Types()


def told(topic: str, field: str, *names: str, **more: Any) -> Output:
    return Output(topic, field, names, rest=(0.0,) * len(names), **more)


def robot(*outputs: Output) -> Robot:
    return Robot("toy", "ros2", 10.0, KINDS, {}, outputs)


def messages(types: Types, outputs: tuple[Output, ...], *commands: list[float]) -> dict[str, Any]:
    check_outputs(robot(*outputs), types)
    return messages_of(robot(*outputs), types, np.array(commands), now=7.5)


def test_a_trajectory_has_a_point_a_period(types: Types) -> None:
    outputs = (told("/number", "data", "grip"), told("/move", "positions", "a", "b", frame="base", points=2))
    found = messages(types, outputs, [9.0, 1.0, 2.0], [9.1, 3.0, 4.0], [9.2, 5.0, 6.0])
    assert found["/number"] == {"data": 9.0}
    assert found["/move"]["joint_names"] == ["a", "b"]
    points = found["/move"]["points"]
    assert [point["positions"].tolist() for point in points] == [[1.0, 2.0], [3.0, 4.0]]
    assert [point["time_from_start"] for point in points] == [{"sec": 0, "nanosec": n} for n in (100000000, 200000000)]
    assert stamp_of(found["/move"]) == 7.5
    assert found["/move"]["header"]["frame_id"] == "base"


def test_velocities_of_a_trajectory(types: Types) -> None:
    found = messages(types, (told("/move", "points.velocities", "a"),), [0.5])
    assert found["/move"]["points"][0]["velocities"].tolist() == [0.5]
    assert found["/move"]["points"][0]["positions"].tolist() == []


def test_joints_are_named(types: Types) -> None:
    """They once were numbers without names, which no driver takes."""
    found = messages(types, (told("/joints", "position", "b", "a", prefix="left_"),), [1.0, 2.0])["/joints"]
    assert found["name"] == ["b", "a"]
    assert found["position"].tolist() == [1.0, 2.0]
    both = (told("/joints", "position", "a", "b"), told("/joints", "velocity", "a", "b"))
    found = messages(types, both, [1.0, 2.0, 3.0, 4.0])["/joints"]
    assert (found["name"], found["velocity"].tolist()) == (["a", "b"], [3.0, 4.0])


def test_several_outputs_become_one_message(types: Types) -> None:
    found = messages(types, (told("/twist", "linear.x", "speed"), told("/twist", "angular.z", "turn")), [0.3, -0.4])
    zero = {"x": 0.0, "y": 0.0, "z": 0.0}
    assert found == {"/twist": {"linear": zero | {"x": 0.3}, "angular": zero | {"z": -0.4}}}


def test_one_frame_is_that_of_the_message(types: Types) -> None:
    """An output without a frame once took that of another one out."""
    place = told("/pose", "pose.position", "x", "y", "z", frame="base")
    turn = told("/pose", "pose.orientation", "roll", "pitch", "yaw", euler=True)
    for outputs in ((place, turn), (turn, place)):
        found = messages(types, outputs, [0.0] * 6)["/pose"]
        assert found["header"]["frame_id"] == "base"
        assert found["pose"]["orientation"] == {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}


def test_axes_are_told_by_their_names(types: Types) -> None:
    found = messages(types, (told("/pose", "pose.position", "z", "y", "x"),), [1.0, 2.0, 3.0])["/pose"]
    assert found["pose"]["position"] == {"x": 3.0, "y": 2.0, "z": 1.0}
    found = messages(types, (told("/pose", "pose.position", "a", "b", "c"),), [1.0, 2.0, 3.0])["/pose"]
    assert found["pose"]["position"] == {"x": 1.0, "y": 2.0, "z": 3.0}


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (told("/bool", "data", "grip"), "/bool: 'data' of std_msgs/msg/Bool holds bool, and a policy's numbers are no"),
        (told("/whole", "data", "grip"), "holds int32, .*; take a topic of floats"),
        (told("/wholes", "data", "a", "b"), "holds int32"),
        (told("/text", "data", "a"), "'data' of std_msgs/msg/String does not take 1 numbers"),
        (told("/polygon", "points", "a"), "'points' of geometry_msgs/msg/Polygon does not take 1 numbers"),
        (told("/number", "data", "a", "b"), "/number: 'data' of std_msgs/msg/Float64 does not take 2 numbers"),
        (told("/number", "date", "a"), "/number: std_msgs/msg/Float64 has no field 'date'"),
        (told("/number", "data.x", "a"), "has no field 'data.x'"),
        (told("/twist", "linear", "a", "b"), "'linear' of geometry_msgs/msg/Twist does not take 2 numbers"),
        (told("/twist", "linear", "r", "p", "y", euler=True), "does not take 3 numbers"),
        (told("/array", "data", "r", "p", "y", euler=True), "does not take 3 numbers"),
        (told("/pose", "pose.orientation", "r", "p", "y"), "does not take 3 numbers"),
        (told("/move", "position", "a"), r"points\[0\] has no field 'position'; did you mean 'positions'"),
    ],
)
def test_outputs_that_cannot_be_made(types: Types, output: Output, why: str) -> None:
    """True and false once were found out at the first command that is neither."""
    with pytest.raises(LaminarError, match=why) as error:
        check_outputs(robot(output), types)
    assert "\n" not in str(error.value)


def test_limits(types: Types) -> None:
    limits = limits_of(
        robot(told("/number", "data", "a", low=(-1.0,), velocity=(2.0,)), told("/twist", "linear.x", "b"))
    )
    assert limits.low.tolist() == [-1.0, -np.inf]
    assert limits.high.tolist() == [np.inf, np.inf]
    assert limits.velocity.tolist() == [2.0, np.inf]
    assert limits.names == ("a", "b")
    assert load_robot("two_arms").action_names == limits_of(load_robot("two_arms")).names
    with pytest.raises(LaminarError, match=r"a: the lower limit 1 is above the upper one, 0"):
        limits_of(robot(told("/number", "data", "a", low=(1.0,), high=(0.0,))))
