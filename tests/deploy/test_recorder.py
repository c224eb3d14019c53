"""Recordings: what goes in comes back, whatever ends them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.load import load_episodes
from laminar.errors import LaminarError

pytest.importorskip("mcap", reason="needs the extra 'deploy'")
pytest.importorskip("rosbags", reason="needs the extra 'deploy'")

from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from laminar.data.bags.opening import open_bag
from laminar.data.robots.description import Robot
from laminar.data.robots.messages import Message, Types, stamped
from laminar.data.robots.reading import robot_from
from laminar.deploy.recorder import Recorder

JOINTS, EYE, COMMAND = "/joints", "/eye", "/command"
TEXT = """
rate_hz: 100
topics:
  /joints: sensor_msgs/msg/JointState
  /eye: sensor_msgs/msg/Image
  /command: std_msgs/msg/Float64MultiArray
observation:
  arm: [{topic: /joints, field: position, names: [a, b]}]
  eye: {topic: /eye, size: [96, 96]}
action: [{topic: /command, field: data, names: [a, b], rest: 0}]
"""
TYPES = Types()


@pytest.fixture
def robot() -> Robot:
    return robot_from(TEXT, "arm.yaml", "arm")


@pytest.fixture
def record(robot: Robot, tmp_path: Path) -> Callable[..., Recorder]:
    return lambda name="a.mcap", **options: Recorder(tmp_path / name, robot, TYPES, **options)


def joints(now: float, values: Any = (0.0, 0.0)) -> Message:
    message = {"header": stamped(now), "name": ["a", "b"], "position": np.array(values, float)}
    return TYPES.complete("sensor_msgs/msg/JointState", message)


def eye(now: float, rng: np.random.Generator) -> Message:
    more = {"height": 96, "width": 96, "step": 288, "encoding": "rgb8", "data": rng.integers(0, 256, 27648, np.uint8)}
    return TYPES.complete("sensor_msgs/msg/Image", {"header": stamped(now), **more})


def command(values: Any = (0.0, 0.0)) -> Message:
    return TYPES.complete("std_msgs/msg/Float64MultiArray", {"data": np.array(values, float)})


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(np.array_equal(a, b, equal_nan=isinstance(a, np.ndarray) and a.dtype.kind == "f"))


def test_values_stamps_and_times_come_back(record: Callable[..., Recorder]) -> None:
    rng, sent = np.random.default_rng(0), []
    with record() as recorder:
        for number in range(200):
            now = 1.7e9 + number / 100 + 1e-7 * rng.integers(0, 1000)
            for topic, message in ((JOINTS, joints(now, rng.normal(size=2))), (EYE, eye(now, rng))):
                recorder.seen(topic, message, now + 0.001)
                sent.append((topic, round((now + 0.001) * 1e9), message))
            recorder.commanded(COMMAND, one := command((np.nan, number)), now + 0.002)
            sent.append((COMMAND, round((now + 0.002) * 1e9), one))
    bag = open_bag(recorder.path)
    found = [(raw.topic, raw.time, bag.read(raw)) for raw in bag.stored()]
    assert [one[:2] for one in found] == [one[:2] for one in sent]
    assert all(same(a[2], b[2]) for a, b in zip(found, sent, strict=True))
    assert not bag.cut


def test_others_can_read_it(record: Callable[..., Recorder]) -> None:
    """By mcap's index, as Foxglove does, and by rosbags, with the types that are in the file."""
    with record() as recorder:
        recorder.mark("begin", 1.7e9)
        recorder.seen(JOINTS, joints(1.7e9 - 0.01, (1.0, 2.0)), 1.7e9 + 1)
    with recorder.path.open("rb") as file:
        reader = make_reader(file)
        assert reader.get_header().profile == "ros2"
        schema, channel, message = next(iter(reader.iter_messages(topics=[JOINTS])))
        assert schema is not None
        assert (schema.name, schema.encoding, channel.message_encoding) == (
            "sensor_msgs/msg/JointState",
            "ros2msg",
            "cdr",
        )
        assert message.log_time - message.publish_time == pytest.approx(1.01e9, abs=1000)
        assert "rate_hz: 100" in next(iter(reader.iter_metadata())).metadata["description"]
    with AnyReader([recorder.path]) as reader:
        read = [(one.topic, reader.deserialize(raw, one.msgtype)) for one, _, raw in reader.messages()]
    assert [topic for topic, _ in read] == ["/laminar/episode", JOINTS]
    assert read[1][1].position.tolist() == [1.0, 2.0]


def test_a_message_may_be_changed_afterwards(record: Callable[..., Recorder]) -> None:
    with record() as recorder:
        message = joints(1.7e9, (1.0, 2.0))
        recorder.seen(JOINTS, message, 1.7e9)
        message["position"][:] = 7
    bag = open_bag(recorder.path)
    assert bag.read(next(bag.stored()))["position"].tolist() == [1.0, 2.0]


def test_several_threads_record(record: Callable[..., Recorder]) -> None:
    def work(topic: str, message: Message) -> None:
        for number in range(500):
            recorder.seen(topic, message, 1.7e9 + number)

    with record() as recorder:
        pairs = [
            (JOINTS, joints(1.0)),
            (COMMAND, command()),
            (JOINTS, joints(2.0)),
            (EYE, eye(1.0, np.random.default_rng(0))),
        ]
        threads = [threading.Thread(target=work, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sum(1 for _ in open_bag(recorder.path).stored()) == 2000
    assert recorder.lost == 0


def test_nothing_is_overwritten_unless_told(record: Callable[..., Recorder]) -> None:
    record().close()
    with pytest.raises(LaminarError, match=r"a\.mcap: is there already; choose another name"):
        record()
    record(overwrite=True).close()
    with pytest.raises(LaminarError, match=r"a recording is MCAP; call it a\.mcap"):
        record("a.bag")


def test_what_cannot_be_recorded_is_refused(record: Callable[..., Recorder], robot: Robot) -> None:
    with record() as recorder:
        with pytest.raises(LaminarError, match="robot arm has no topic /joint; did you mean '/joints'"):
            recorder.seen("/joint", joints(0.0), 1.0)
        with pytest.raises(LaminarError, match="/joints: the message is no sensor_msgs/msg/JointState"):
            recorder.seen(JOINTS, {"name": ["a"]}, 1.0)
        with pytest.raises(LaminarError, match="/joints: nan is no time"):
            recorder.seen(JOINTS, joints(0.0), float("nan"))
    silent = Robot("arm", "ros2", 10.0, {}, {}, ())
    with pytest.raises(LaminarError, match="robot arm has no text"):
        Recorder(recorder.path.with_name("b.mcap"), silent, TYPES)


def test_what_is_too_much_is_counted_and_told(
    record: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("laminar.deploy.recorder._MOST", 100_000)
    recorder, message = record(), eye(1.0, np.random.default_rng(0))
    stuck = threading.Event()
    monkeypatch.setattr(recorder, "_write", lambda *_: stuck.wait(30))
    for _ in range(10):
        recorder.seen(EYE, message, 1.7e9)
    recorder.mark("success", 1.7e9)
    stuck.set()
    recorder.close()
    assert recorder.lost == 7
    assert "7 messages were lost" in capsys.readouterr().err


def test_a_full_disk_is_told(record: Callable[..., Recorder]) -> None:
    recorder = record()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    recorder._writer.add_message = full  # type: ignore[method-assign]
    recorder.seen(JOINTS, joints(1.0), 1.7e9)
    recorder._thread.join(30)
    recorder.seen(JOINTS, joints(1.0), 1.7e9)  # of another thread, which could only print a line a message
    with pytest.raises(LaminarError, match=r"cannot be written any more .*No space left"):
        recorder.commanded(COMMAND, command(), 1.7e9)
    for _ in range(3):  # the robot is brought to rest
        recorder.observed(1.0, 1.7e9)
        recorder.commanded(COMMAND, command(), 1.7e9)
        recorder.transition("idle: the run is over", 1.7e9)
        recorder.mark("end", 1.7e9)
    assert recorder.lost == 13
    with pytest.raises(LaminarError, match="No space left"):
        recorder.close()


def test_marks_make_episodes(record: Callable[..., Recorder]) -> None:
    rng = np.random.default_rng(0)
    with record() as recorder:
        recorder.transition("running: operator", 1.7e9)
        recorder.mark("begin", 1.7e9)
        for number in range(51):
            now = 1.7e9 + number / 100
            recorder.seen(JOINTS, joints(now, (number, 0)), now)
            recorder.seen(EYE, eye(now, rng), now + 0.001)
            if number < 50:
                recorder.observed(now, now + 0.002)
                recorder.commanded(COMMAND, command((number, 1.0)), now + 0.003)
        recorder.mark("success", now + 0.002)
    episodes = load_episodes(recorder.path)
    assert episodes.lengths.tolist() == [50]
    assert episodes.success is not None
    assert episodes.success.all()
    np.testing.assert_array_equal(episodes.action[:, 0], episodes.observation["arm"][:, 0])
    assert episodes.final_observation["arm"][0, 0] == 50


PROCESS = """
import sys, time
import numpy as np
from pathlib import Path
from laminar.data.robots.messages import Types, stamped
from laminar.data.robots.reading import robot_from
from laminar.deploy.recorder import Recorder
types, rng = Types(), np.random.default_rng(0)
recorder = Recorder(sys.argv[1], robot_from(sys.argv[2], "arm.yaml", "arm"), types)
print("open", flush=True)
number, begin = 0, time.monotonic()
while True:
    now = time.time()
    joints = {"header": stamped(now), "name": ["a", "b"], "position": np.array([number, 0.0])}
    recorder.seen("/joints", types.complete("sensor_msgs/msg/JointState", joints), now)
    pixels = rng.integers(0, 256, 27648, np.uint8)
    eye = {"header": stamped(now), "height": 96, "width": 96, "step": 288, "encoding": "rgb8", "data": pixels}
    recorder.seen("/eye", types.complete("sensor_msgs/msg/Image", eye), now)
    command = {"data": np.array([number, 1.0])}
    recorder.commanded("/command", types.complete("std_msgs/msg/Float64MultiArray", command), now)
    number += 1
    Path(sys.argv[3]).write_text(repr(now))
    time.sleep(max(0.0, begin + number / 100 - time.monotonic()))
"""


def killed(folder: Path, seconds: float) -> float:
    """Kill a recording process after so many seconds; return how many seconds of what it took are not in the file."""
    path, last = folder / "killed.mcap", folder / "last"
    words = [sys.executable, "-c", PROCESS, str(path), TEXT, str(last)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    time.sleep(seconds)  # what is tested is that any moment will do
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    bag = open_bag(path)
    times = [raw.time for raw in bag.messages()]
    assert bag.cut
    episodes = load_episodes(path)
    assert f"the recording was cut; {len(times)} messages were read" in "\n".join(episodes.remarks)
    np.testing.assert_array_equal(episodes.action[:, 0], episodes.observation["arm"][:, 0])
    written = last.read_text()
    return (float(written) if written else 0.0) - times[-1] * 1e-9


@pytest.mark.parametrize("seconds", [1.1, 1.63, 2.37])
def test_a_kill_loses_at_most_the_last_second(seconds: float, tmp_path: Path) -> None:
    assert killed(tmp_path, seconds) < 1.0


@pytest.mark.slow
def test_ten_kills_at_random_moments(tmp_path: Path) -> None:
    for number, seconds in enumerate(np.random.default_rng().uniform(1.0, 6.0, 10)):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert killed(folder, float(seconds)) < 1.0, seconds
