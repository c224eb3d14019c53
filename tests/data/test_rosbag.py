"""Bags as demonstrations: every container, marks and pauses, other rates, and all that can be wrong with them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.inspect import describe
from laminar.data.load import Selection, load_episodes
from laminar.data.on_disk import is_on_disk
from laminar.errors import LaminarError

pytest.importorskip("rosbags", reason="needs the extra 'deploy'")
pytest.importorskip("mcap", reason="needs the extra 'deploy'")

from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from laminar.data.bags.bag import Raw, in_order
from laminar.data.bags.words import EPISODE, KINDS, OBSERVED, STATE
from laminar.data.robots.messages import Types, stamped

BEGIN = 1.7e9
JOINTS, EYE, COMMAND, GRIPPER = "/arm/joints", "/arm/eye", "/arm/command", "/arm/gripper"
TYPES = {
    JOINTS: "sensor_msgs/msg/JointState",
    EYE: "sensor_msgs/msg/Image",
    COMMAND: "trajectory_msgs/msg/JointTrajectory",
    GRIPPER: "std_msgs/msg/Float64MultiArray",
    **KINDS,
}
ARM = """
name: arm
rate_hz: 20
topics:
  /arm/joints: sensor_msgs/msg/JointState
  /arm/eye: sensor_msgs/msg/Image
  /arm/command: trajectory_msgs/msg/JointTrajectory
observation:
  arm: [{topic: /arm/joints, field: position, names: [a, b]}]
  eye: {topic: /arm/eye, size: [6, 8]}
action:
  - topic: /arm/command
    field: positions
    names: [a, b]
    measured: [{topic: /arm/joints, field: position, names: [a, b]}]
"""
HAND = ARM + "  - {topic: /arm/gripper, field: data, names: [grip], rest: keep}\n"
HAND = HAND.replace("topics:\n", "topics:\n  /arm/gripper: std_msgs/msg/Float64MultiArray\n")


@dataclass(frozen=True)
class Line:
    """A message, and when it is written down, in seconds from the begin."""

    seconds: float
    topic: str
    message: dict[str, Any]


def joints(seconds: float, values: Iterable[float], names: str = "ba") -> Line:
    """Say where joints a, b are; in the message they stand in another order."""
    found = dict(zip("ab", values, strict=True))
    position = np.array([found.get(name, 9.0) for name in names])
    return Line(seconds, JOINTS, {"header": stamped(BEGIN + seconds), "name": list(names), "position": position})


def eye(seconds: float, number: int) -> Line:
    picture = np.full(6 * 8 * 3, number, np.uint8)
    more = {"height": 6, "width": 8, "step": 24, "encoding": "rgb8", "data": picture}
    return Line(seconds, EYE, {"header": stamped(BEGIN + seconds), **more})


def command(seconds: float, values: Iterable[float]) -> Line:
    points = [{"positions": np.array([*values])[::-1]}, {"positions": np.full(2, 99.0)}]
    return Line(seconds, COMMAND, {"joint_names": ["b", "a"], "points": points})


def gripper(seconds: float, value: float) -> Line:
    return Line(seconds, GRIPPER, {"data": np.array([value])})


def mark(seconds: float, text: str, topic: str = EPISODE) -> Line:
    return Line(seconds, topic, {"data": text})


def observed(seconds: float, instant: float) -> Line:
    return Line(seconds, OBSERVED, stamped(BEGIN + instant)["stamp"])


def drive(seconds: float, begin: float = 0.0, every: float = 0.05, first: int = 0) -> list[Line]:
    """Let joint a and the pictures count, at 20 Hz, and commands come a millisecond later at a rate of their own."""
    lines: list[Line] = []
    for number in range(round(seconds * 20) + 1):
        now = begin + number * 0.05
        lines += [joints(now, (first + number, -1.0)), eye(now, first + number)]
    lines += [command(begin + n * every + 0.001, (n, n / 2)) for n in range(round(seconds / every))]
    return sorted(lines, key=lambda line: line.seconds)


def write(path: Path, lines: list[Line]) -> Path:
    """Write lines by rosbags' own writers: `.mcap` and `.db3` in a folder of ROS 2, `.bag` as ROS 1 does."""
    types, store1 = Types(), get_typestore(Stores.ROS1_NOETIC)
    ros1 = path.suffix == ".bag"
    plugin = {".mcap": StoragePlugin.MCAP, ".db3": StoragePlugin.SQLITE3}.get(path.suffix)
    writer: Any = Writer1(path) if ros1 else Writer2(path.with_suffix(""), version=9, storage_plugin=plugin)
    with writer:
        open_: dict[str, Any] = {}
        for line in lines:
            kind = TYPES[line.topic]
            if line.topic not in open_:
                open_[line.topic] = writer.add_connection(line.topic, kind, typestore=store1 if ros1 else types.store)
            message = types.complete(kind, line.message)
            raw = types.to_ros1(kind, message) if ros1 else types.to_cdr(kind, message)
            writer.write(open_[line.topic], round((BEGIN + line.seconds) * 1e9), raw)
    return path if ros1 else path.with_suffix("")


@pytest.fixture
def arm(tmp_path: Path) -> Callable[..., Selection]:
    """Return what writes the description of a robot and selects it."""

    def select(text: str = ARM, **selected: Any) -> Selection:
        file = tmp_path / "described.yaml"
        file.write_text(text)
        return Selection(robot=str(file), **selected)

    return select


def error_of(path: Path, selection: Selection = Selection()) -> str:  # noqa: B008
    with pytest.raises(LaminarError) as caught:
        load_episodes(path, selection)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read_or_refused(path: Path, selection: Selection = Selection()) -> tuple[Episodes | None, str]:  # noqa: B008
    """Return the episodes, or None and the one line that refuses them."""
    try:
        return load_episodes(path, selection), ""
    except LaminarError as error:
        message = str(error)
    assert "\n" not in message
    return None, message


def told(episodes: Any) -> str:
    return "\n".join(episodes.remarks)


# --- containers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".bag"])
def test_every_container_says_the_same(suffix: str, arm: Callable[..., Selection], tmp_path: Path) -> None:
    path = write(tmp_path / f"bag{suffix}", drive(1.0))
    episodes = load_episodes(path, arm())
    assert episodes.lengths.tolist() == [20]
    np.testing.assert_array_equal(episodes.observation["arm"][:, 0], np.arange(20))
    np.testing.assert_array_equal(np.asarray(episodes.observation["eye"])[:, 0, 0, 0], np.arange(20))
    np.testing.assert_array_equal(episodes.action, np.stack([np.arange(20), np.arange(20) / 2], axis=1))
    assert episodes.final_observation["arm"].tolist() == [[20.0, -1.0]]
    assert int(np.asarray(episodes.final_observation["eye"])[0, 0, 0, 0]) == 20
    assert is_on_disk(episodes.observation["eye"]), "pictures of a long bag do not fit into memory"
    assert episodes.spec.rate_hz == 20
    assert not episodes.has_reward
    assert episodes.truncated[-1]
    if path.is_dir():
        file = next(one for one in path.iterdir() if one.suffix == suffix)
        np.testing.assert_array_equal(load_episodes(file, arm()).action, episodes.action)


def test_a_type_that_only_the_bag_knows(arm: Callable[..., Selection], tmp_path: Path) -> None:
    types = Types()
    types.add("my_robot/msg/Force", "std_msgs/Header header\nfloat64[] newton")
    with Writer2(tmp_path / "own", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        lines = drive(0.5)
        open_ = {t: writer.add_connection(t, TYPES[t], typestore=types.store) for t in (JOINTS, EYE, COMMAND)}
        force = writer.add_connection("/force", "my_robot/msg/Force", typestore=types.store)
        for line in lines:
            now = round((BEGIN + line.seconds) * 1e9)
            writer.write(
                open_[line.topic], now, types.to_cdr(TYPES[line.topic], types.complete(TYPES[line.topic], line.message))
            )
            message = {"header": stamped(BEGIN + line.seconds), "newton": np.array([line.seconds])}
            writer.write(force, now, types.to_cdr("my_robot/msg/Force", message))
    text = ARM.replace("topics:\n", "topics:\n  /force: my_robot/msg/Force\n")
    text = text.replace("observation:\n", "observation:\n  force: [{topic: /force, field: newton, names: [n]}]\n")
    episodes = load_episodes(tmp_path / "own", arm(text))
    np.testing.assert_allclose(episodes.observation["force"][:, 0], np.arange(10) * 0.05 + 0.001, atol=0.0011)


def test_a_file_cut_at_any_byte_is_read_or_refused(samples: Any, tmp_path: Path) -> None:
    whole = samples.bag(tmp_path).read_bytes()
    cut = tmp_path / "cut.mcap"
    lengths: list[int] = []
    for size in [*range(0, len(whole), max(1, len(whole) // 150)), *range(len(whole) - 40, len(whole))]:
        cut.write_bytes(whole[:size])
        episodes, error = read_or_refused(cut)
        assert episodes is None or "the recording was cut; " in told(episodes)
        assert "damaged" not in error
        lengths.append(0 if episodes is None else len(episodes))
    assert lengths == sorted(lengths), "more of a file has more steps"
    assert lengths[-1] == 12


@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".bag"])
def test_damaged_bytes_are_refused_or_read(suffix: str, arm: Callable[..., Selection], tmp_path: Path) -> None:
    path = write(tmp_path / f"bag{suffix}", drive(0.5))
    path = path if path.is_file() else next(one for one in path.iterdir() if one.suffix == suffix)
    whole, rng, selection = path.read_bytes(), np.random.default_rng(0), arm()
    for _ in range(60):
        spoilt = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 30)):
            spoilt[place] = rng.integers(0, 256)
        path.write_bytes(spoilt[: rng.integers(len(whole) // 2, len(whole) + 1)])
        read_or_refused(path, selection)


def test_a_folder_whose_files_are_gone(arm: Callable[..., Selection], tmp_path: Path) -> None:
    path = write(tmp_path / "bag.mcap", drive(0.5))
    next(path.glob("*.mcap")).unlink()
    assert "names bag.mcap, which is not there" in error_of(path, arm())


def test_without_rosbags_other_files_are_read(samples: Any, tmp_path: Path) -> None:
    bag, other = samples.bag(tmp_path), samples.d4rl(tmp_path)
    code = (
        "import sys; sys.modules['rosbags'] = sys.modules['mcap'] = None\n"
        "from laminar.data.load import load_episodes\n"
        "print(len(load_episodes(sys.argv[1])))\n"
        "try: load_episodes(sys.argv[2])\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, other, bag], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "12"
    assert "reading bags needs rosbags and mcap: pip install 'laminar[deploy]'" in done.stdout


# --- descriptions -------------------------------------------------------------------------------------------------


def test_without_a_description_one_line_says_what_to_give(tmp_path: Path) -> None:
    message = error_of(write(tmp_path / "bag.mcap", drive(0.5)))
    assert "set data.robot=FILE (or data.robot=NAME of arm, " in message


def test_inspect_takes_a_robot(
    arm: Callable[..., Selection], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "bag.mcap", drive(0.5))
    assert main(["inspect", str(path), f"data.robot={arm().robot}"]) == 0
    assert "episodes   1 (0 terminated, 1 truncated), 10 steps" in capsys.readouterr().out


def test_its_rows_have_times(arm: Callable[..., Selection], tmp_path: Path) -> None:
    """When each action was sent."""
    path = write(tmp_path / "bag.mcap", drive(0.5))
    times = load_episodes(path, arm()).infos["timestamp"]
    assert np.diff(times) == pytest.approx(0.05, abs=1e-6)
    assert describe(load_episodes(path, arm()))["timing"]["rate_hz"] == pytest.approx(20, rel=1e-4)


def test_its_times_in_lerobot_are_those_of_the_format(arm: Callable[..., Selection], tmp_path: Path) -> None:
    """`timestamp` is frame_index / fps, of each episode anew; when actions were sent is kept beside it."""
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = [mark(0.0001, "begin"), *drive(0.5), mark(0.6, "success"), mark(1.0, "begin"), *drive(0.4, begin=1.01)]
    late = 0.004 * np.random.default_rng(0).random(len(lines))
    lines = [
        replace(line, seconds=line.seconds + shift) if line.topic == COMMAND else line
        for line, shift in zip(lines, late, strict=True)
    ]
    bag = write(tmp_path / "bag.mcap", sorted(lines, key=lambda line: line.seconds))
    words = [f"data.robot={arm().robot}", "data.observation=[arm]", "format=lerobot"]
    assert main(["convert", str(bag), str(tmp_path / "first"), *words]) == 0
    table = parquet.read_table(tmp_path / "first/data/chunk-000/file-000.parquet")
    frame, timestamp, measured = (np.array(table[key]) for key in ("frame_index", "timestamp", "info.timestamp"))
    assert table["timestamp"].type == "float"
    np.testing.assert_array_equal(timestamp, (frame / 20).astype(np.float32))
    assert frame[:2].tolist() == [0, 1]
    assert np.flatnonzero(frame == 0).tolist() == [0, 10]
    steps = np.diff(measured)
    assert 0.001 < np.abs(np.delete(steps, 9) - 0.05).max() < 0.01
    told = load_episodes(bag, arm()).infos["timestamp"]
    found = load_episodes(tmp_path / "first")
    assert not [remark for remark in found.remarks if "timestamp" in remark or "tasks" in remark]
    np.testing.assert_array_equal(found.infos["timestamp"].reshape(-1), told[: len(found)])
    assert describe(found)["timing"]["jitter_ms"] > 1, "inspect looks at what was measured"
    assert main(["convert", str(tmp_path / "first"), str(tmp_path / "second"), "format=lerobot"]) == 0
    again = parquet.read_table(tmp_path / "second/data/chunk-000/file-000.parquet")
    assert again.column_names == table.column_names
    np.testing.assert_array_equal(np.array(again["info.timestamp"]), measured[: len(again)])


def test_another_robot_is_refused(arm: Callable[..., Selection], tmp_path: Path) -> None:
    path = write(tmp_path / "bag.mcap", drive(0.5))
    assert "has no messages of /playroom/relative_pose_command, which robot playroom" in error_of(
        path, Selection(robot="playroom")
    )
    assert "has no messages of /arm/joint, which robot arm" in error_of(path, arm(ARM.replace("joints", "joint")))
    wrong = ARM.replace("/arm/eye: sensor_msgs/msg/Image", "/arm/eye: sensor_msgs/msg/CompressedImage")
    message = error_of(path, arm(wrong))
    assert "/arm/eye carries sensor_msgs/msg/Image, and by the description" in message
    assert "pictures are 6 x 8, expected 7 x 8" in error_of(path, arm(ARM.replace("[6, 8]", "[7, 8]")))


@pytest.mark.parametrize(
    ("line", "wrong", "why"),
    [
        ("field: position,", "field: placement,", "/arm/joints: sensor_msgs/msg/JointState has no field 'placement'"),
        ("field: position,", "field: name,", "/arm/joints: 'name' of sensor_msgs/msg/JointState does not take 2"),
        ("field: positions", "field: points", "trajectory_msgs/msg/JointTrajectoryPoint has no field 'points'"),
    ],
)
def test_fields_are_checked_against_their_types(
    arm: Callable[..., Selection], tmp_path: Path, line: str, wrong: str, why: str
) -> None:
    """Before anything is read, with the types that the bag brings."""
    message = error_of(write(tmp_path / "bag.mcap", drive(0.5)), arm(ARM.replace(line, wrong)))
    assert why in message
    assert "correct the description" in message
    assert " s: " not in message, "it is wrong at every time"


def test_a_command_of_whole_numbers_is_refused(arm: Callable[..., Selection], tmp_path: Path) -> None:
    text = HAND.replace("Float64MultiArray", "Int64MultiArray")
    TYPES[GRIPPER] = "std_msgs/msg/Int64MultiArray"
    try:
        lines = [*drive(0.5), Line(0.2, GRIPPER, {"data": np.array([1])})]
        message = error_of(write(tmp_path / "bag.mcap", lines), arm(text))
    finally:
        TYPES[GRIPPER] = "std_msgs/msg/Float64MultiArray"
    assert "/arm/gripper: 'data' of std_msgs/msg/Int64MultiArray holds int64" in message


def test_a_joint_is_found_by_its_name(arm: Callable[..., Selection], tmp_path: Path) -> None:
    lines = [
        joints(line.seconds, (n, 5.0), names=("ab", "ba", "xba")[n % 3]) if line.topic == JOINTS else line
        for n, line in enumerate(drive(0.5))
    ]
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm())
    assert (episodes.observation["arm"][:, 1] == 5.0).all()
    lines[6] = joints(lines[6].seconds, (1.0, 2.0), names="ac")
    assert "/arm/joints: 'b' is missing (it has a, c)" in error_of(write(tmp_path / "bad.mcap", lines), arm())


def test_numbers_that_are_none(arm: Callable[..., Selection], tmp_path: Path) -> None:
    lines = [*drive(0.5), joints(0.2505, (np.nan, 1.0)), eye(0.2505, 1)]
    lines.sort(key=lambda line: line.seconds)
    assert "/arm/joints: a is nan" in error_of(write(tmp_path / "bag.mcap", lines), arm())
    lines = [*drive(0.5), command(0.52, (1.0, np.inf))]
    assert "/arm/command: b is inf" in error_of(write(tmp_path / "bad.mcap", lines), arm())


def test_pictures_that_nobody_wants_are_not_read(arm: Callable[..., Selection], tmp_path: Path) -> None:
    lines = [line for line in drive(0.5) if line.topic != EYE]
    lines += [Line(0.1, EYE, {"encoding": "none"})]
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm(observation=["arm"]))
    assert list(episodes.observation) == ["arm"]
    assert "not read, topics: /arm/eye (sensor_msgs/msg/Image, 1 messages)" in told(episodes)
    assert "data.observation names 'arn'" in error_of(tmp_path / "bag", arm(observation=["arn"]))


# --- actions ------------------------------------------------------------------------------------------------------


def test_faster_commands_are_thinned(arm: Callable[..., Selection], tmp_path: Path) -> None:
    episodes = load_episodes(write(tmp_path / "bag.mcap", drive(1.0, every=0.01)), arm())
    assert "actions come at 100 Hz, the robot's rate is 20: the newest of each period is taken" in told(episodes)
    np.testing.assert_array_equal(episodes.action[:, 0], np.arange(4, 100, 5))
    np.testing.assert_array_equal(episodes.observation["arm"][:, 0], np.arange(20))


def test_slower_commands_are_held(arm: Callable[..., Selection], tmp_path: Path) -> None:
    episodes = load_episodes(write(tmp_path / "bag.mcap", drive(1.0, every=0.2)), arm())
    assert "actions come at 5 Hz, the robot's rate is 20: the last one is held" in told(episodes)
    np.testing.assert_array_equal(episodes.action[:, 0], [*np.repeat(np.arange(4), 4), 4])
    np.testing.assert_array_equal(episodes.observation["arm"][:, 0], np.arange(17))


def test_changes_have_one_rate(arm: Callable[..., Selection], tmp_path: Path) -> None:
    path = write(tmp_path / "bag.mcap", drive(1.0, every=0.01))
    message = error_of(path, arm(ARM + "units: {action: relative}\n"))
    assert "actions come at 100 Hz, and robot arm" in message


def test_all_parts_make_one_action(arm: Callable[..., Selection], tmp_path: Path) -> None:
    """A command that was lost does not pair all later ones with those of the period before."""
    lines = drive(1.0) + [gripper(n * 0.05 + 0.002, n) for n in range(20)]
    lines = [line for line in lines if not (line.topic == COMMAND and abs(line.seconds - 0.351) < 1e-6)]
    lines.sort(key=lambda line: line.seconds)
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm(HAND))
    assert episodes.spec.action.names == ("a", "b", "grip")
    np.testing.assert_array_equal(episodes.action[:, 0], episodes.action[:, 2])
    assert 7 not in episodes.action[:, 0]
    assert len(episodes) == 19


def test_a_gripper_that_is_told_changes_only(arm: Callable[..., Selection], tmp_path: Path) -> None:
    lines = sorted([*drive(1.0), gripper(0.0005, 0.0), gripper(0.5, 1.0)], key=lambda line: line.seconds)
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm(HAND))
    np.testing.assert_array_equal(episodes.action[:, 2], np.arange(20) >= 10)
    assert "/arm/gripper has 2 commands for 20 of /arm/command" in told(episodes)


# --- episodes -----------------------------------------------------------------------------------------------------


def test_pauses_end_episodes_that_nobody_marked(arm: Callable[..., Selection], tmp_path: Path) -> None:
    episodes = load_episodes(write(tmp_path / "bag.mcap", drive(0.5) + drive(0.75, begin=3.0, first=50)), arm())
    assert episodes.lengths.tolist() == [10, 15]
    assert episodes.final_observation["arm"][:, 0].tolist() == [10.0, 65.0]
    assert episodes.success is None
    assert "one ends where no action comes for 1 s" in told(episodes)


def test_marks_say_what_is_an_episode(arm: Callable[..., Selection], tmp_path: Path) -> None:
    marks = [(0.1, "begin"), (0.3, "success: drawer"), (0.42, "begin"), (0.6, "failure"), (0.7, "begin"), (0.9, "end")]
    lines = sorted([*drive(1.0), *(mark(*one) for one in marks)], key=lambda line: line.seconds)
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm())
    assert episodes.lengths.tolist() == [4, 3, 4]
    assert episodes.success is not None
    assert episodes.success.tolist() == [True, False, False]
    assert episodes.reward.nonzero()[0].tolist() == [3]
    assert episodes.terminated.nonzero()[0].tolist() == [3]
    assert episodes.truncated.nonzero()[0].tolist() == [6, 10]
    assert episodes.action[:, 0].tolist() == [2, 3, 4, 5, 9, 10, 11, 14, 15, 16, 17]
    assert episodes.final_observation["arm"][:, 0].tolist() == [6.0, 12.0, 18.0]
    assert "9 actions before a 'begin' or after an end" in told(episodes)
    assert "1 episodes are marked neither 'success' nor 'failure'" in told(episodes)


def test_the_last_mark_counts_and_unknown_ones_are_told(arm: Callable[..., Selection], tmp_path: Path) -> None:
    marks = [mark(-0.01, "begin"), mark(0.9, "success"), mark(2.0, "failure"), mark(2.1, "lunch")]
    lines = sorted([*drive(1.0), *marks], key=lambda line: line.seconds)
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm())
    assert episodes.success is not None
    assert not episodes.success.any()
    assert "1 episodes were marked again" in told(episodes)
    assert "not read, 1 marks 'lunch'" in told(episodes)


def test_what_is_commanded_in_a_hold_is_no_demonstration(arm: Callable[..., Selection], tmp_path: Path) -> None:
    states = [mark(-0.01, "begin"), mark(0.28, "hold: no observation", STATE), mark(0.48, "running", STATE)]
    lines = sorted([*drive(1.0), *states, mark(0.99, "success")], key=lambda line: line.seconds)
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm())
    assert episodes.lengths.tolist() == [6, 10]
    assert episodes.success is not None
    assert episodes.success.tolist() == [False, True]
    assert not {6, 7, 8, 9} & {*episodes.action[:, 0]}
    assert "4 actions while the robot was held" in told(episodes)


def test_a_reset_right_after_the_end_is_not_seen(arm: Callable[..., Selection], tmp_path: Path) -> None:
    lines = [line for line in drive(1.0) if line.seconds < 0.52]
    lines += [joints(0.545, (11.0, 0.0)), eye(0.545, 11), mark(0.546, "success")]
    lines += [joints(0.548, (77.0, 0.0)), eye(0.548, 77), joints(0.6, (78.0, 0.0)), eye(0.6, 78)]
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm())
    assert episodes.final_observation["arm"][0, 0] == 11.0


# --- observations -------------------------------------------------------------------------------------------------


def test_the_marked_observation_is_the_one(arm: Callable[..., Selection], tmp_path: Path) -> None:
    """Each command was computed from what was shown two periods before."""
    marks = [observed(n * 0.05 + 0.0005, (n - 2) * 0.05) for n in range(2, 20)]
    lines = sorted([*drive(1.0), *marks], key=lambda line: line.seconds)
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm())
    assert episodes.observation["arm"][:, 0].tolist() == [0, 1, *range(18)]


def test_commands_before_the_first_message_and_in_a_silence(arm: Callable[..., Selection], tmp_path: Path) -> None:
    lines = [line for line in drive(2.0) if line.topic != EYE or line.seconds > 0.12]
    lines = [line for line in lines if line.topic != JOINTS or not 0.52 < line.seconds < 1.12]
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm())
    assert "3 actions come before every topic was heard of: they are left out" in told(episodes)
    assert "actions come while /arm/joints was silent for more than 0.25 s" in told(episodes)
    assert episodes.num_episodes == 2
    assert episodes.action[0, 0] == 3


def test_another_clock_of_the_robot(arm: Callable[..., Selection], tmp_path: Path) -> None:
    """Stamps of a simulation's clock, and a topic that has none."""
    text = ARM.replace("observation:\n", "observation:\n  grip: [{topic: /arm/gripper, field: data, names: [grip]}]\n")
    text = text.replace("topics:\n", "topics:\n  /arm/gripper: std_msgs/msg/Float64MultiArray\n")
    lines = drive(1.0)
    for line in lines:
        if "header" in line.message:
            line.message["header"] = stamped(7.0 + line.seconds)
    lines += [gripper(n * 0.05, n) for n in range(21)]
    lines.sort(key=lambda line: line.seconds)
    episodes = load_episodes(write(tmp_path / "bag.mcap", lines), arm(text))
    np.testing.assert_array_equal(episodes.observation["grip"][:, 0], episodes.observation["arm"][:, 0])


def test_messages_are_put_in_order_as_far_as_they_are_close() -> None:
    times = [1.0, 1.2, 1.1, 5.0, 4.5, 3601.0, 8.0, 7.9, 8.1]
    raws = [Raw("t", round(time * 1e9), b"") for time in times]
    assert [raw.time / 1e9 for raw in in_order(raws)] == [1.0, 1.1, 1.2, 4.5, 5.0, 3601.0, 7.9, 8.0, 8.1]


def test_the_clock_of_the_recording_machine_is_set_back(arm: Callable[..., Selection], tmp_path: Path) -> None:
    lines = drive(1.0)
    moved = [Line(line.seconds - (3600 if line.seconds > 0.52 else 0), line.topic, line.message) for line in lines]
    episodes = load_episodes(write(tmp_path / "bag.mcap", moved), arm())
    assert episodes.lengths.tolist() == [11, 9]
    assert episodes.action[:, 0].tolist() == [*range(20)]


def test_no_step_says_why(arm: Callable[..., Selection], tmp_path: Path) -> None:
    lines = [*drive(0.5), mark(0.6, "begin")]
    message = error_of(write(tmp_path / "bag.mcap", lines), arm())
    assert "has no step of robot arm" in message
    assert "10 actions before a 'begin'" in message
    shutil.rmtree(tmp_path / "bag")
