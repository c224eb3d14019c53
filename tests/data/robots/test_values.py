"""What messages say: numbers by their names, quaternions, pictures; and what says nothing is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminar.data.robots.description import Camera, Output, Part, Robot
from laminar.data.robots.messages import Message, Types
from laminar.data.robots.observing import measured_pose, observation_of
from laminar.data.robots.values import euler_angles, numbers, picture, quaternion_of
from laminar.errors import LaminarError

JOINTS = "sensor_msgs/msg/JointState"
ANGLE = st.floats(-np.pi, np.pi)


def joints(**given: Any) -> Message:
    return Types().complete(JOINTS, given)


def test_joints_are_found_by_their_names_in_any_order() -> None:
    part = Part("/j", "position", ("elbow", "shoulder"))
    message = joints(name=["base", "shoulder", "elbow"], position=[1.0, 2.0, 3.0], velocity=[4.0, 5.0, 6.0])
    assert numbers(part, message).tolist() == [3.0, 2.0]
    assert numbers(Part("/j", "velocity", ("shoulder",), scale=-2.0), message).tolist() == [-10.0]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": ["a"], "position": [1.0]}, r"'b' is missing \(it has a\)"),
        ({}, r"'a' is missing \(it has no names\)"),
        ({"name": ["a", "b"], "position": []}, "2 names for 0 numbers of 'position'"),
        ({"name": [], "position": [1.0, 2.0]}, "0 names for 2 numbers"),
        ({"name": ["a", "b", "a"], "position": [1.0, 2.0, 3.0]}, "'a' is there 2 times"),
        ({"name": ["a", "b"], "position": [1.0, np.nan]}, "left_b is nan"),
        ({"name": ["a", "b"], "position": [-np.inf, 0.0]}, "left_a is -inf"),
        ({"name": ["a", "b"], "position": [1e300, 0.0]}, r"left_a is 1e\+300"),
    ],
)
def test_joints_that_say_nothing(given: dict[str, Any], why: str) -> None:
    """The last of two of the same name once was taken, and 1e300 became infinite for a policy."""
    with pytest.raises(LaminarError, match=rf"^/j: {why}"):
        numbers(Part("/j", "position", ("a", "b"), prefix="left_"), joints(**given))


def test_what_becomes_too_large_by_its_scale() -> None:
    with pytest.raises(LaminarError, match=r"x is 1e"):
        numbers(Part("/t", "data", ("x",), scale=1e30), {"data": 1e10})


def test_axes_are_found_by_their_names() -> None:
    """[w, x, y, z] once were the numbers of x, y, z, w."""
    message = {"q": {"x": 1.0, "y": 2.0, "z": 3.0, "w": 4.0}, "p": {"x": 1.0, "y": 2.0, "z": 3.0}}
    assert numbers(Part("/t", "q", ("w", "x", "y", "z")), message).tolist() == [4.0, 1.0, 2.0, 3.0]
    assert numbers(Part("/t", "q", ("a", "b", "c", "d")), message).tolist() == [1.0, 2.0, 3.0, 4.0]
    assert numbers(Part("/t", "p", ("z", "y", "x")), message).tolist() == [3.0, 2.0, 1.0]
    assert numbers(Part("/t", "p.y", ("height",)), message).tolist() == [2.0]


@pytest.mark.parametrize(
    ("field", "names", "why"),
    [
        ("pose", ("a",), r"its messages have no field 'pose'"),
        ("plane.theta", ("a", "b"), r"'plane.theta' has shape \(1,\), expected \(2,\)"),
        ("plane", ("a", "b"), r"'plane' has shape \(0,\), expected \(2,\)"),
        ("plane.thetas", ("a",), "no field 'plane.thetas'; did you mean 'theta'"),
        ("text", ("a",), "'text' is no number and no sequence of numbers"),
        ("text.x", ("a",), "no field 'text.x'"),
        ("points", ("a",), "'points' is no number and no sequence of numbers"),
        ("data", ("a",), r"'data' has shape \(2,\), expected \(1,\)"),
    ],
)
def test_fields_that_are_no_numbers(field: str, names: tuple[str, ...], why: str) -> None:
    """A text once was a ValueError, and x and y were read of a plane's x, y and theta."""
    plane = {"x": 1.0, "y": 2.0, "theta": 3.0}
    message = {"plane": plane, "text": "up", "points": [{}], "data": np.zeros(2)}
    with pytest.raises(LaminarError, match=rf"^/t: .*{why}"):
        numbers(Part("/t", field, names), message)


def turned(quaternion: np.ndarray) -> np.ndarray:
    """The rotation of a quaternion, as a matrix."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def about(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """The rotation around fixed axes: roll first."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    around_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    around_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    return np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]) @ around_y @ around_x


@given(
    roll=ANGLE,
    pitch=st.one_of(ANGLE, st.sampled_from([np.pi / 2, -np.pi / 2])),
    yaw=ANGLE,
    length=st.floats(0.95, 1.05),
)
def test_angles_and_quaternions_are_the_same_rotation(roll: float, pitch: float, yaw: float, length: float) -> None:
    """Where pitch is a right angle, roll and yaw once were whatever rounding left of 0."""
    quaternion = quaternion_of([roll, pitch, yaw])
    np.testing.assert_allclose(turned(quaternion), about(roll, pitch, yaw), atol=1e-9)
    np.testing.assert_allclose(about(*euler_angles(length * quaternion)), about(roll, pitch, yaw), atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrong", [[0, 0, 0, 0], [0, 0, 0, 0.5], [1, 1, 1, 1], [0, 0, 0, 1e200]])
def test_what_is_no_quaternion(wrong: list[float]) -> None:
    """A length beyond all floats once was no rotation at all."""
    with pytest.raises(LaminarError, match=r"^/t: the orientation .* is no quaternion of length 1"):
        numbers(Part("/t", "q", ("r", "p", "y"), euler=True), {"q": dict(zip("xyzw", map(float, wrong), strict=True))})
    with pytest.raises(LaminarError, match=r"w is nan"):
        numbers(Part("/t", "q", ("r", "p", "y"), euler=True), {"q": {"x": 0.0, "y": 0.0, "z": 0.0, "w": np.nan}})


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)


def raw(encoding: str, pixels: np.ndarray, padding: int = 0) -> Message:
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=99)
    return {"height": height, "width": width, "encoding": encoding, "step": rows.shape[1], "data": rows.reshape(-1)}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 0])],
)
def test_pictures_of_every_encoding(encoding: str, order: list[int], padding: int) -> None:
    found = picture(Camera("/c", 3, 4), raw(encoding, PIXELS[:, :, order], padding))
    np.testing.assert_array_equal(found, PIXELS)
    assert found.flags.writeable
    assert found.flags.c_contiguous


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_pictures_in_grey(encoding: str) -> None:
    found = picture(Camera("/c", 3, 4), raw(encoding, PIXELS[:, :, :1], 1))
    np.testing.assert_array_equal(found, np.repeat(PIXELS[:, :, :1], 3, axis=2))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"encoding": "16UC1"}, r"encoded as '16UC1' \(known: rgb8"),
        ({"encoding": "yuv422"}, "encoded as 'yuv422'"),
        ({"step": 11}, "36 bytes are no 3 x 4 picture of rgb8"),
        ({"step": 0}, "are no 3 x 4 picture"),
        ({"height": 2}, "are no 2 x 4 picture"),
        ({"height": 0, "width": 0, "step": 0, "data": np.zeros(0, np.uint8)}, "0 bytes are no 0 x 0 picture"),
        ({"data": np.zeros(35, np.uint8)}, "35 bytes are no"),
        ({"encoding": "rgba8"}, "36 bytes are no 3 x 4 picture of rgba8"),
    ],
)
def test_pictures_that_are_none(change: dict[str, Any], why: str) -> None:
    """One of no pixels at all once was resized to whatever was in memory."""
    with pytest.raises(LaminarError, match=rf"^/c: .*{why}"):
        picture(Camera("/c", 3, 4, resize=True), raw("rgb8", PIXELS) | change)


def compressed(mode: str, form: str) -> Message:
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert("L" if mode.startswith("I") else mode).convert(mode).save(file, form)
    return {"format": form.lower(), "data": np.frombuffer(file.getvalue(), np.uint8)}


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_compressed_pictures(mode: str) -> None:
    found = picture(Camera("/c", 3, 4), compressed(mode, "PNG"))
    np.testing.assert_array_equal(found, PIXELS)
    assert found.flags.writeable, "torch warns of arrays that are not"
    assert picture(Camera("/c", 3, 4), compressed("RGB", "JPEG")).shape == (3, 4, 3)


def test_depth_is_no_picture() -> None:
    """16 bits once were cut to 8: everything far away was white."""
    with pytest.raises(LaminarError, match=r"^/c: pictures have the mode I;16 of Pillow, not 8 bits a color"):
        picture(Camera("/c", 3, 4), compressed("I;16", "PNG"))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_damaged_pictures_are_refused_by_one_line(form: str) -> None:
    rng, message = np.random.default_rng(0), compressed("RGB", form)
    refused: list[str] = []
    for number in range(300):
        data = message["data"].copy()
        data[rng.integers(40)] ^= 1 << rng.integers(8)
        data = data[: rng.integers(len(data))] if number % 3 == 0 else data
        try:
            picture(Camera("/c", 3, 4, resize=True), message | {"data": data})
        except LaminarError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in line for line in refused)
    with pytest.raises(LaminarError, match=r"format 'tiff' is damaged"):
        picture(Camera("/c", 3, 4), compressed("RGB", "TIFF"))


def test_pictures_of_another_size() -> None:
    with pytest.raises(LaminarError, match=r"^/c: pictures are 3 x 4, expected 6 x 8; set the camera so, or .*resize"):
        picture(Camera("/c", 6, 8), raw("rgb8", PIXELS))
    found = picture(Camera("/c", 6, 8, resize=True), raw("rgb8", np.full((3, 4, 3), 7, np.uint8)))
    np.testing.assert_array_equal(found, np.full((6, 8, 3), 7))
    assert found.flags.writeable


def robot() -> Robot:
    part = Part("/j", "position", ("a", "b"))
    return Robot(
        name="toy",
        dialect="ros2",
        rate_hz=10.0,
        types={"/j": JOINTS, "/move": JOINTS, "/grip": "std_msgs/msg/Float64"},
        observation={"arm": (part,)},
        action=(
            Output("/move", "position", ("b",), (Part("/j", "position", ("b",)),)),
            Output("/grip", "data", ("grip", "base"), rest=(None, 0.5)),
        ),
    )


def test_what_moves_nothing() -> None:
    message = {"/j": joints(name=["a", "b"], position=[1.0, 2.0])}
    assert measured_pose(robot(), message).tolist() == [2.0, 0.0, 0.5]
    assert measured_pose(robot(), message, np.array([7.0, 8.0, 9.0])).tolist() == [2.0, 8.0, 0.5]


def test_what_is_kept_is_measured_before_the_first_command() -> None:
    """Elsewhere 0, which is half of a gripper's range; afterwards the last command holds what it grips."""
    where = (Part("/j", "position", ("finger",), scale=2.0),)
    told = Output("/grip", "data", ("push", "grip", "turn"), rest=(0.0, None, 0.5), measured=where)
    arm = Robot("arm", "ros2", 10.0, {}, {}, (told,))
    message = {"/j": joints(name=["finger"], position=[0.04])}
    assert measured_pose(arm, message).tolist() == [0.0, 0.08, 0.5]
    assert measured_pose(arm, message, np.array([1.0, 0.02, 1.0])).tolist() == [0.0, 0.02, 0.5]
    assert arm.read_topics() == ["/j"]


def test_a_topic_that_was_not_heard_of() -> None:
    """It once was a KeyError."""
    for read in (observation_of, measured_pose):
        with pytest.raises(LaminarError, match=r"no message of /j \(there are those of /other\)"):
            read(robot(), {"/other": {}})
