"""A robot's description: what is understood, what is refused and where, and the robots that come along."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from laminar.cli import main
from laminar.data.robots.describing import describe
from laminar.data.robots.description import Camera, Part
from laminar.data.robots.messages import Types
from laminar.data.robots.reading import load_robot, robot_from, robot_names
from laminar.data.robots.values import numbers
from laminar.data.spec import Spec
from laminar.deploy.commands import check_outputs, limits_of
from laminar.errors import LaminarError

JOINTS, BOOL = "sensor_msgs/msg/JointState", "std_msgs/msg/Bool"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"


def content(**changes: Any) -> dict[str, Any]:
    """A description that is right, and changes; None takes a line out."""
    whole = {
        "rate_hz": 20,
        "namespace": "toy",
        "topics": {
            "joints": JOINTS,
            "front": "sensor_msgs/Image",
            "odom": "nav_msgs/msg/Odometry",
            "move": TRAJECTORY,
            "grip": "std_msgs/msg/Float64",
            "cmd": "geometry_msgs/msg/Twist",
            "/stop": BOOL,
        },
        "observation": {
            "arm": [{"topic": "joints", "field": "position", "names": ["a", "b"]}],
            "front": {"topic": "front", "size": [4, 6]},
        },
        "action": [
            {
                "topic": "move",
                "field": "positions",
                "names": ["a", "b"],
                "low": -1,
                "high": [1, 2],
                "measured": [{"topic": "joints", "field": "position", "names": ["a", "b"]}],
            },
            {"topic": "grip", "field": "data", "names": ["grip"], "rest": "keep", "low": 0, "high": 1},
        ],
    } | changes
    return {key: value for key, value in whole.items() if value is not None}


def read(**changes: Any) -> Any:
    return robot_from(yaml.safe_dump(content(**changes)), "toy.yaml", "toy")


def part(**changes: Any) -> dict[str, Any]:
    whole = {"topic": "joints", "field": "position", "names": ["a", "b"]} | changes
    return {key: value for key, value in whole.items() if value is not None}


def output(**changes: Any) -> dict[str, Any]:
    return {"topic": "grip", "field": "data", "names": ["grip"], "rest": 0} | changes


def test_what_a_description_says() -> None:
    robot = read(estop="/stop", units={"arm": "rad"}, watch={"actions": 1})
    assert robot.name == "toy"
    assert robot.types["/toy/front"] == "sensor_msgs/msg/Image", "names of ROS 1 are those of ROS 2"
    assert robot.observation["arm"] == (Part("/toy/joints", "position", ("a", "b")),)
    assert robot.observation["front"] == Camera("/toy/front", 4, 6)
    assert robot.action[0].low == (-1.0, -1.0)
    assert robot.action[0].high == (1.0, 2.0)
    assert robot.action[1].rest == (None,)
    assert (robot.estop, robot.reset, robot.watch.actions, robot.watch.arrival) == ("/stop", "", 1.0, 0.25)
    assert robot.read_topics() == ["/toy/front", "/toy/joints"]
    spec = robot.spec
    assert spec.observation["arm"].unit == "rad"
    assert spec.action.names == robot.action_names == ("a", "b", "grip")
    assert (spec.action_low, spec.action_high, spec.rate_hz) == ((-1, -1, 0), (1, 2, 1), 20)


@pytest.mark.parametrize(("namespace", "full"), [("toy", "/toy/joints"), ("/a/b/", "/a/b/joints"), ("/", "/joints")])
def test_namespaces(namespace: str, full: str) -> None:
    """One without a slash in front once gave names without any."""
    assert full in read(namespace=namespace).types
    assert "/joints" in read(namespace=None).types


def test_usual_names_go_without_saying() -> None:
    parts = [
        {"topic": "odom", "field": "pose.pose.position"},
        {"topic": "odom", "field": "pose.pose.orientation"},
        {"topic": "odom", "field": "pose.pose.orientation", "euler": True},
        {"topic": "odom", "field": "twist.twist.linear", "prefix": "v_"},
    ]
    names = read(observation={"base": parts}).spec.observation["base"].names
    assert names == (*"xyz", *"xyzw", "roll", "pitch", "yaw", "v_x", "v_y", "v_z")


def test_arms_with_joints_of_the_same_names() -> None:
    arms = {f"{side}/joints": JOINTS for side in ("left", "right")}
    shown = [part(topic=topic, prefix=f"{topic[0]}_") for topic in arms]
    told = [output(topic=topic, field="position", names=["a", "b"], rest="keep") for topic in arms]
    with pytest.raises(LaminarError, match=r"'a' names two numbers of the action; give one output a `prefix`"):
        read(topics=arms, observation={"arms": shown}, action=told)
    robot = read(topics=arms, observation={"arms": shown}, action=[told[0], told[1] | {"prefix": "r_"}])
    assert robot.spec.observation["arms"].names == ("l_a", "l_b", "r_a", "r_b")
    assert robot.action_names == ("a", "b", "r_a", "r_b")
    assert robot.action[1].names == ("a", "b"), "in messages they are called as ever"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"rate_hz": None}, "rate_hz is missing"),
    ({"rate_hz": 0}, "rate_hz is a finite number above 0, got 0"),
    ({"rate_hz": "20Hz"}, "rate_hz is a finite number above 0, got '20Hz'"),
    ({"rate_hz": True}, "rate_hz is a finite number above 0, got True"),
    ({"rate_hz": 10**400}, "rate_hz is a finite number above 0, got 1000"),
    ({"rate_hz": float("nan")}, "rate_hz is a finite number above 0, got nan"),
    ({"rate_hz": 2}, "watch.arrival is 0.25 s and a control period 0.5 s: it would always stop the robot"),
    ({"rate": 20}, "rate is not known .*did you mean 'rate_hz'"),
    ({"observation": {}}, "observation is missing"),
    ({"observation": {"arm": []}}, r"observation.arm is a list with something in it, got \[\]"),
    ({"observation": {"arm": part()}}, "observation.arm is a camera, or a list of parts: write `- ` in front"),
    ({"observation": [part()]}, "observation holds `key: value` lines"),
    ({"observation": {1: [part()]}}, "a key of observation is a text, got 1"),
    ({"dialect": "ros3"}, "dialect is one of ros1, ros2, not 'ros3'"),
    ({"dialect": ["ros1"]}, "dialect is one of ros1, ros2"),
    ({"namespace": 3}, "namespace is a text, got 3"),
    ({"namespace": "my robot"}, "'/my robot/cmd' is no name in ROS"),
    ({"topics": {"joints": "JointState"}}, "topics.joints 'JointState' names no type of message"),
    ({"topics": {"jöints": JOINTS}}, r"topics.jöints '/toy/j\\xf6ints' is no name in ROS"),
    ({"topics": {"1st": JOINTS}}, "'/toy/1st' is no name in ROS"),
    ({"topics": {"joints/": JOINTS}}, "'/toy/joints/' is no name in ROS"),
    ({"topics": {"joints": JOINTS, "/toy/joints": JOINTS}}, "topics.joints is /toy/joints, which is there already"),
    ({"units": {"amr": "rad"}}, "units.amr is not known .*did you mean 'arm'"),
    ({"units": {"arm": True}}, "units.arm is a text, got True: YAML takes on, off"),
    ({"watch": {"arrivals": 1}}, "watch.arrivals is not known .*did you mean 'arrival'"),
    ({"watch": {"actions": 0}}, "watch.actions is a finite number above 0, got 0"),
    ({"watch": {"transport": 0.05}}, "watch.transport is 0.05 s and a control period 0.05 s"),
    ({"estop": False}, "estop is a text, got False: YAML takes on, off, yes, no"),
    ({"estop": "halt"}, "estop: /toy/halt is not among `topics`; add it, as std_msgs/msg/Bool"),
    ({"success": "joints"}, "success: /toy/joints carries sensor_msgs/msg/JointState, not std_msgs/msg/Bool"),
    ({"seed": "/stop"}, "seed: /stop carries std_msgs/msg/Bool, not std_msgs/msg/Int64"),
    ({"heartbeat": "beat"}, "heartbeat: /toy/beat is not among `topics`; add it$"),
    ({"reset": "joints"}, "reset is a service, and /toy/joints is among `topics`"),
    ({"name": "  "}, "name is a text, got '  '"),
]
WRONG_PARTS: list[tuple[dict[str, Any], str]] = [
    ({"topic": "joint"}, "topic /toy/joint is not among `topics`; did you mean '/toy/joints'"),
    ({"names": ["a", True]}, "names is a text, got True: YAML takes on, off, yes, no, true and false for such"),
    ({"names": ["a", 1]}, "names is a text, got 1"),
    ({"names": ["a", ["b"]]}, r"names is a text, got \['b'\]"),
    ({"names": ["a", "a"]}, "names are different texts"),
    ({"names": "a"}, "names is a list with something in it, got 'a'"),
    ({"names": None}, "names is a list with something in it, got None"),
    ({"field": 3}, "field is a text, got 3"),
    ({"scale": "1e-3"}, r"scale is a finite number, got '1e-3' \(a text: YAML wants 1.0e-3 for 1e-3\)"),
    ({"scale": 0}, "scale is 0"),
    ({"euler": "yes"}, "euler is true or false, got 'yes'"),
    ({"euler": True}, "euler sensor_msgs/msg/JointState has no quaternions"),
    ({"topic": "odom", "euler": True}, "names roll, pitch and yaw are three, got 2"),
    ({"low": 1}, "low is not known"),
]
WRONG_OUTPUTS: list[tuple[dict[str, Any], str]] = [
    ({"low": 2, "high": 1}, "grip of /toy/grip: low is 2, above high, 1"),
    ({"low": 0.5}, "grip of /toy/grip: rest is 0, outside of 0.5 to inf"),
    ({"high": -0.5}, "rest is 0, outside of -inf to -0.5"),
    ({"low": [0, 1]}, "low is one value, or 1, got 2"),
    ({"low": float("-inf")}, "low is a finite number, got -inf"),
    ({"low": None}, "low is a finite number, got None"),
    ({"velocity": 0}, "velocity is a finite number above 0, got 0"),
    ({"acceleration": -1}, "acceleration is a finite number above 0, got -1"),
    ({"rest": None}, "rest is a finite number, got None"),
    ({"rest": "hold"}, "rest is a finite number, got 'hold'"),
    ({"measured": [part(names=["a"])]}, "needs either `measured`, .*, or `rest`"),
    ({"points": 2}, f"points are of a {TRAJECTORY}, and /toy/grip carries none"),
    ({"topic": "move", "points": 2.5}, "points is a whole number of at least 1, got 2.5"),
    ({"topic": "move", "points": True}, "points is a whole number of at least 1, got True"),
    ({"topic": "cmd", "euler": True}, "names roll, pitch and yaw are three, got 1"),
    ({"names": ["a"]}, "'a' names two numbers of the action"),
]


def check_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(LaminarError, match=rf"^toy.yaml: .*{why}") as error:
        read(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("changes", "why"), WRONG)
def test_lines_that_are_wrong(changes: dict[str, Any], why: str) -> None:
    check_refused(changes, why)


@pytest.mark.parametrize(("changes", "why"), WRONG_PARTS)
def test_parts_that_are_wrong(changes: dict[str, Any], why: str) -> None:
    check_refused({"observation": {"arm": [part(), part(**changes)]}}, rf"observation.arm\[1\].{why}")


@pytest.mark.parametrize(("changes", "why"), WRONG_OUTPUTS)
def test_outputs_that_are_wrong(changes: dict[str, Any], why: str) -> None:
    check_refused({"action": [content()["action"][0], output(**changes)]}, why)


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (None, "size is a list with something in it, got None"),
        ([4], "size is height and width in pixels"),
        ([4, 0], "size is a whole number of at least 1, got 0"),
        ([4, 6.0], "size is a whole number of at least 1, got 6.0"),
        ([4, True], "size is a whole number of at least 1, got True"),
    ],
)
def test_sizes_of_pictures(size: Any, why: str) -> None:
    check_refused({"observation": {"front": {"topic": "front", "size": size}}}, f"observation.front.{why}")
    check_refused(
        {"observation": {"arm": {"topic": "joints", "size": [4, 6]}}}, "carries .*JointState, which is no pic"
    )


def test_outputs_of_one_topic() -> None:
    """The second one once was all that was told."""

    def both(topic: str, first: dict[str, Any], second: dict[str, Any]) -> Any:
        return read(action=[output(topic=topic) | first, output(topic=topic, names=["other"]) | second])

    linear, angular = {"field": "linear.x"}, {"field": "angular.z"}
    assert [one.field for one in both("cmd", linear, angular).action] == ["linear.x", "angular.z"]
    for topic, first, second in (
        ("cmd", linear, linear),
        ("cmd", linear, {"field": "linear"} | {"names": [*"xyz"]}),
        ("grip", {}, {}),
        ("move", {"field": "positions"}, {"field": "velocities"}),
        ("joints", {"field": "position"}, {"field": "velocity"}),
    ):
        with pytest.raises(LaminarError, match=rf"two outputs tell '.*' of /toy/{topic}; make one of them"):
            both(topic, first, second)
    with pytest.raises(LaminarError, match=r"/toy/cmd has one header, with the frame 'a' or 'b'"):
        both("cmd", linear | {"frame": "a"}, angular | {"frame": "b"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file holds `key: value` lines, got None"),
        ("- 1", "the file holds `key: value` lines"),
        ("a: [", "is no YAML"),
        ("name: a\nname: b", "is no YAML: 'name' is there twice .*line 2"),
        ("topics: {joints: a/B, joints: a/C}", "is no YAML: 'joints' is there twice"),
        ("on: 3", "a key of the file is a text, got True: YAML takes on, off, yes"),
        ("name: !!python/object/apply:os.getcwd []", "is no YAML: could not determine a constructor"),
        ("&a [*a]", "the file holds `key: value` lines"),
        ("[" * 5000, "is no YAML"),
        ("? [1]\n: 2", "is no YAML: .*unhashable"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, why: str) -> None:
    """Of a key that is there twice the last one was taken."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(LaminarError, match=rf"mine.yaml:? {why}") as error:
        load_robot(path)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match=r"no robot is called 'playrom' \(known: arm, .*did you mean 'playroom'"):
        load_robot("playrom")
    with pytest.raises(LaminarError, match=r"no robot is called"):
        load_robot(tmp_path)
    with pytest.raises(LaminarError, match=r"cannot be read|no robot is called"):
        load_robot("x" * 5000)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe4")
    with pytest.raises(LaminarError, match=r"latin.yaml cannot be read: .*utf-8"):
        load_robot(tmp_path / "latin.yaml")


def test_a_description_can_be_read_without_the_extra() -> None:
    reading = "from laminar.data.robots.reading import load_robot; load_robot('arm')"
    code = f"import sys; sys.modules['rosbags'] = None; {reading}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", robot_names())
def test_the_robots_that_come_along(name: str, types: Types) -> None:
    robot = load_robot(name)
    assert robot.name == name
    assert isinstance(robot.spec, Spec)
    assert robot.spec.action_low is not None
    check_outputs(robot, types)
    limits = limits_of(robot)
    assert len(limits.low) == robot.spec.action_dim
    for kind in robot.types.values():
        types.fields(kind)
    for one in robot.parts():  # every field is there
        message = types.complete(robot.types[one.topic], {})
        if "name" in message:
            message |= {"name": list(one.names), one.field: np.ones(one.width)}
        if one.euler:
            message["pose"]["pose"]["orientation"]["w"] = 1.0
        assert numbers(one, message).shape == (one.width,)


def test_templates() -> None:
    assert {"arm", "two_arms", "diff_drive"} < {*robot_names()}
    assert load_robot("arm").spec.action_dim == 8
    assert (load_robot("two_arms").spec.action_dim, load_robot("two_arms").rate_hz) == (14, 50.0)
    assert len({*load_robot("two_arms").action_names}) == 14
    assert sum(isinstance(one, Camera) for one in load_robot("two_arms").observation.values()) == 4
    assert [output.rest for output in load_robot("diff_drive").action] == [(0.0,), (0.0,)]


def test_what_is_shown_of_a_description(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content(estop="/stop", units={"arm": "rad"})))
    shown = describe(load_robot(path)).splitlines()
    assert shown[0] == f"robot       mine, ros2, 20 Hz ({path})"
    assert "sees arm    2 rad: 2 of /toy/joints position (a, b)" in shown
    assert "sees front  4 x 6 x 3 of /toy/front" in shown
    assert f"tells       2 to /toy/move positions ({TRAJECTORY}), rests where it is measured" in shown
    assert "  b         -1 to 2" in shown
    assert "  grip      0 to 1, rest keep" in shown
    assert "estop       /stop" in shown
    assert "watch       arrival 0.25 s, stamp 0.25 s, actions 0.5 s, transport 0.25 s" in shown
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == shown
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["action"][1]["topic"] == "/toy/grip"
    path.write_text("rate_hz: 20")
    assert main(["inspect", str(path)]) == 2
    assert "topics is missing" in capsys.readouterr().err


def test_what_is_kept_may_be_measured_before_the_first_command() -> None:
    told = output(names=["grip", "push"], rest=["keep", 0], measured=[part(names=["a"])])
    grip = read(action=[told]).action[0]
    assert (grip.rest, grip.positions, grip.measured[0].names) == ((None, 0.0), False, ("a",))
    for wrong in (told | {"rest": 0}, told | {"rest": "keep"}, told | {"measured": [part()]}):
        with pytest.raises(LaminarError, match=r"both for those that `rest` says to keep|has [12] numbers for [12]"):
            read(action=[wrong])
