"""ROS 1 itself: a real master, a robot of another process that knows nothing of laminar, and our gateway."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from laminar.data.robots.messages import Types
from laminar.data.robots.reading import load_robot
from laminar.deploy.ros1 import node
from laminar.deploy.ros1.node import Master
from laminar.deploy.rosbridge import Rosbridge, Settings
from laminar.deploy.supervisor import State
from laminar.deploy.transport import Reading, Transport
from laminar.deploy.transports import TRANSPORTS
from laminar.errors import LaminarError

from .ros_master import RosMaster, free_port
from .steady import SPEED, STATES, TRAJECTORY, Steady, arm

HERE = Path(__file__).resolve().parent
SETTINGS = {"ping": 5.0, "max_age": 5.0}  # a machine that is busy must not look like a network that is away
TYPES = Types()


def opened(address: str, timeout: float = 5.0, types: Types = TYPES) -> Any:
    return TRANSPORTS.module("rospy").opened(types, address, timeout=timeout)


class Process:
    """A program of these tests, which says in its first line that it is ready."""

    def __init__(self, script: str, master: RosMaster, *arguments: str) -> None:
        ros = {"ROS_MASTER_URI": master.address, "ROS_IP": "127.0.0.1", "ROS_HOME": str(master.home)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments], env=os.environ | ros, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline().strip()
        assert self.first, f"{script} did not start"

    def stop(self) -> str:
        """Return the last line of a program that is told to end."""
        self.process.terminate()
        return self.process.communicate(timeout=30)[0].strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(ros_master: RosMaster) -> Iterator[Callable[..., Process]]:
    with ExitStack() as stack:

        def begin(script: str, *arguments: str) -> Process:
            process = Process(script, ros_master, *arguments)
            stack.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def robot(ros_master: RosMaster) -> Iterator[Any]:
    with ExitStack() as stack:
        transport = opened(ros_master.address)
        stack.callback(transport.close)
        yield transport


def wait_for(met: Callable[[], Any], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.005)


class TestWithoutRos:
    """What is told where ROS 1 is not, or no master is; these need none."""

    def test_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(node, "DEBIAN", "/nowhere")
        with pytest.raises(
            LaminarError, match=r"apt-get install python3-rospy .*transport=rosbridge needs none"
        ) as told:
            node.imported("rospy_that_nobody_has")
        assert "\n" not in str(told.value)

    @pytest.mark.parametrize("address", ["ws://127.0.0.1:9090", "http://127.0.0.1", "http://x:99999", "", "localhost"])
    def test_no_address(self, address: str) -> None:
        with pytest.raises(LaminarError, match=r"url=http://127\.0\.0\.1:11311"):
            Master(address, 1.0)

    def test_no_master(self) -> None:
        master = Master(f"http://127.0.0.1:{free_port()}", 1.0)
        with pytest.raises(LaminarError, match="no ROS 1 master answers at http"):
            master.ask("getPid")
        with pytest.raises(LaminarError, match="no ROS 1 master answers at http"):
            master.reached_from()

    def test_a_master_that_is_silent_is_not_waited_for_longer(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            begun = time.monotonic()
            with pytest.raises(LaminarError, match="no ROS 1 master answers"):
                Master(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2).ask("getPid")
            assert time.monotonic() - begun < 2.0


@pytest.mark.ros
class TestNode:
    def test_it_leaves_this_process_alone(self, ros_master: RosMaster) -> None:
        """Signals, loggers, handlers and the order of what can be imported are as they were."""
        code = (
            "import logging, signal, sys, numpy\n"
            "handler = logging.StreamHandler(sys.stdout); logging.getLogger().addHandler(handler)\n"
            "root = logging.getLogger()\n"
            "before = signal.getsignal(signal.SIGINT), root.handlers[:], root.level\n"
            "kind, path = logging.getLoggerClass(), sys.path[:]\n"
            "from laminar.data.robots.messages import Types\n"
            "from laminar.deploy.transports import TRANSPORTS\n"
            "robot = TRANSPORTS.module('rospy').opened(Types(), sys.argv[1])\n"
            "assert before == (signal.getsignal(signal.SIGINT), root.handlers, root.level)\n"
            "assert kind is logging.getLoggerClass() and sys.path[:len(path)] == path\n"
            "assert robot.connected; robot.advertise('/it', 'std_msgs/msg/Bool'); robot.close()\n"
            "assert not robot.connected; logging.warning('mine'); print('over')\n"
        )
        home = {"ROS_HOME": str(ros_master.home / "other")}
        done = subprocess.run(
            [sys.executable, "-c", code, ros_master.address], env=os.environ | home, capture_output=True, timeout=60
        )
        assert (done.returncode, done.stdout.decode().split()) == (0, ["mine", "over"]), done.stderr.decode()

    def test_the_second_one_of_a_process_shares_it(self, ros_master: RosMaster, robot: Any) -> None:
        second = opened(ros_master.address + "/")
        assert second.connected
        second.close()
        assert robot.connected

    def test_there_is_no_second_master_for_a_process(self, ros_master: RosMaster, robot: Any, tmp_path: Path) -> None:
        other = RosMaster(tmp_path)
        other.start()
        try:
            with pytest.raises(LaminarError, match=f"one ROS node, and this one's is at {ros_master.address}; start"):
                opened(other.address)
        finally:
            other.stop()

    def test_no_master_is_told_in_time(self, ros_master: RosMaster) -> None:
        begun = time.monotonic()
        with pytest.raises(LaminarError, match="start one by roscore"):
            opened(f"http://127.0.0.1:{free_port()}", timeout=1.0)
        assert time.monotonic() - begun < 3.0

    def test_nothing_of_ros_reaches_the_root_logger(self, robot: Any) -> None:
        assert not [one for one in logging.getLogger().handlers if "ros" in type(one).__module__]

    def test_what_differs_between_ros_1_and_2_is_refused(self, robot: Any) -> None:
        with pytest.raises(LaminarError, match="Marker has other fields in ROS 1"):
            robot.advertise("/marker", "visualization_msgs/msg/Marker")

    def test_a_service_that_is_not_installed(self, robot: Any) -> None:
        with pytest.raises(LaminarError, match="apt-get install python3-no-such-srvs"):
            robot.serve("/it", "no_such_srvs/srv/Thing", dict)

    def test_a_topic_of_another_type_is_told_and_left_out(self, ros_master: RosMaster, robot: Any) -> None:
        other = opened(ros_master.address)
        seen: list[Any] = []
        robot._tell = lambda line: None
        robot.subscribe("/mixed", STATES, lambda message, arrival: seen.append(message))
        other.advertise("/mixed", TRAJECTORY)
        other.publish("/mixed", TRAJECTORY, {})
        wait_for(lambda: robot.refused)
        assert not seen
        assert "carries trajectory_msgs/JointTrajectory, not sensor_msgs/JointState" in robot.last_refusal
        other.close()

    def test_a_user_s_own_type(self, ros_master: RosMaster) -> None:
        types = Types()
        types.add("mine/msg/Tip", "std_msgs/Header header\ngeometry_msgs/Point place\nfloat32[3] force\n")
        here, there = opened(ros_master.address, types=types), opened(ros_master.address, types=types)
        seen: list[Any] = []
        here.subscribe("/tip", "mine/msg/Tip", lambda message, arrival: seen.append(message))
        there.advertise("/tip", "mine/msg/Tip")
        there.publish("/tip", "mine/msg/Tip", {"place": {"x": 1.5}, "force": [1, 2, 3]})
        wait_for(lambda: seen)
        assert (seen[0]["place"]["x"], list(seen[0]["force"])) == (1.5, [1, 2, 3])
        here.close()
        there.close()

    def test_a_service_that_is_silent_ends_in_time(self, ros_master: RosMaster, robot: Any) -> None:
        other = opened(ros_master.address)
        other.serve("/slow", "std_srvs/srv/Trigger", lambda request: time.sleep(1.5) or {"success": True})
        begun = time.monotonic()
        with pytest.raises(LaminarError, match=r"did not answer within 0.2 s"):
            robot.call("/slow", "", {}, 0.2)
        assert time.monotonic() - begun < 1.2
        other.close()

    def test_a_connection_that_breaks_is_made_again(self, robot: Any, start: Callable[..., Process]) -> None:
        """rospy itself gives it up, until the robot's node is another one."""
        start("ros_arm.py", "50")
        seen: list[Any] = []
        robot.subscribe("/arm/joints", STATES, lambda message, arrival: seen.append(message))
        wait_for(lambda: seen)
        subscriber = robot._read["/arm/joints"].subscriber
        subscriber.impl.connections[0].close()
        wait_for(lambda: not subscriber.get_num_connections())
        before = len(seen)
        wait_for(lambda: len(seen) > before + 5)

    def test_a_master_that_is_stuck_keeps_nobody_waiting(self, ros_master: RosMaster, robot: Any) -> None:
        robot.advertise("/it", "std_msgs/msg/Bool")
        assert ros_master.process is not None
        os.kill(ros_master.process.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: not robot.connected)
            for name in ("advertise", "serve", "subscribe"):
                kind = "std_srvs/srv/Trigger" if name == "serve" else "std_msgs/msg/Bool"
                with pytest.raises(LaminarError, match="no ROS 1 master answers"):
                    getattr(robot, name)("/new", kind, *(() if name == "advertise" else (dict,)))
            begun = time.monotonic()
            robot.close()
            assert time.monotonic() - begun < 10.0
        finally:
            os.kill(ros_master.process.pid, signal.SIGCONT)

    def test_throttled(self, robot: Any, start: Callable[..., Process]) -> None:
        start("ros_arm.py", "100")
        seen: list[float] = []
        robot.subscribe("/arm/joints", STATES, lambda message, arrival: seen.append(arrival), Reading(throttle_ms=100))
        wait_for(lambda: len(seen) > 5)
        assert min(b - a for a, b in pairwise(seen)) >= 0.1


@pytest.fixture(params=["rospy", "rosbridge"])
def way(request: pytest.FixtureRequest, ros_master: RosMaster, start: Callable[..., Process]) -> Iterator[Transport]:
    """Reach the robot of a real master by itself, or through our gateway in another process."""
    with ExitStack() as stack:
        if request.param == "rospy":
            transport: Any = opened(ros_master.address)
        else:
            bridge = start("ros_gateway.py", ros_master.address)
            transport = Rosbridge(TYPES, Settings(bridge.first, **SETTINGS), "ros1")
            transport.open(10)
        stack.callback(transport.close)
        yield transport


@pytest.mark.ros
class TestControl:
    def test_100_hz(self, way: Transport, start: Callable[..., Process]) -> None:
        arm_process = start("ros_arm.py", "100")
        steady = Steady(way, arm(reset="/arm/reset"))
        steady.drive(5.0)
        told, arm_told = steady.told(), json.loads(arm_process.stop())
        assert steady.why == "5 s are over"
        assert told["missed"] < 0.05, told
        assert arm_told["commands"] > 0.8 * told["commands"], (told, arm_told)
        assert arm_told["jump"] < 10 * SPEED / 100, "newest commands only, and so a few at once may be left out"

    def test_any_program_of_ros_stops_it(
        self, way: Transport, ros_master: RosMaster, start: Callable[..., Process]
    ) -> None:
        start("ros_arm.py", "100")
        steady = Steady(way, arm(namespace="/arm"))
        steady.operator.start(None)
        other = opened(ros_master.address)
        told: list[Any] = []
        caller = threading.Thread(target=lambda: told.append(other.call("/arm/laminar/estop", "", {}, 5)))
        caller.start()
        assert steady.until(steady.is_in(State.ESTOP), 1000)
        caller.join()
        assert told[0]["success"]
        other.close()

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_100_hz_for_ten_minutes(self, way: Transport, start: Callable[..., Process]) -> None:
        seconds = float(os.environ.get("LAMINAR_STEADY_SECONDS", "600"))
        arm_process = start("ros_arm.py", "100")
        steady = Steady(way, arm(reset="/arm/reset"))
        steady.drive(seconds)
        told = steady.told() | {f"arm_{key}": value for key, value in json.loads(arm_process.stop()).items()}
        print(json.dumps({key: round(value, 4) for key, value in told.items()}))
        assert told["missed"] < 0.005, told
        assert told["added_ms_p99"] <= 10.0, told

    def test_a_robot_that_is_killed_is_a_hold_and_back_it_goes_on(
        self, way: Transport, start: Callable[..., Process]
    ) -> None:
        first = start("ros_arm.py", "100")
        steady = Steady(way)
        steady.drive(0.3)
        steady.operator.start(None)
        assert steady.until(lambda: steady.controller.counts.commands > 60, 200)
        killed = time.monotonic()
        os.kill(first.process.pid, signal.SIGKILL)
        assert steady.until(steady.is_in(State.HOLD), 200)
        assert steady.supervisor.log[-1].time - killed < steady.robot.watch.arrival + 0.2
        start("ros_arm.py", "100")
        assert steady.until(steady.is_in(State.RUNNING), 2000)
        assert "everything is there again" in steady.supervisor.log[-1].reason


@pytest.mark.ros
@pytest.mark.usefixtures("ros_master")
def test_a_master_that_is_started_again_is_told_of_everything(tmp_path: Path) -> None:
    """Through our gateway, as a process that has a node of this master and no other."""
    with ExitStack() as stack:
        master = RosMaster(tmp_path)
        stack.callback(master.stop)
        master.start()
        bridge = Process("ros_gateway.py", master, master.address)
        stack.callback(bridge.kill)
        robot = Rosbridge(TYPES, Settings(bridge.first, **SETTINGS), "ros1")
        stack.callback(robot.close)
        robot.open(10)
        seen: list[Any] = []
        robot.subscribe("/arm/joints", STATES, lambda message, arrival: seen.append(message))
        robot.serve("/mine/stop", "std_srvs/srv/Trigger", lambda request: {"success": True})
        robot.call("/rosapi/get_time", "", {}, 5)  # by then the others are known
        master.stop()
        master.start()
        stack.callback(Process("ros_arm.py", master, "100").kill)
        wait_for(lambda: len(seen) > 10)
        told = Master(master.address, 1.0)
        wait_for(lambda: "/mine/stop" in dict(told.ask("getSystemState")[2]))


@pytest.mark.ros
def test_a_simulated_robot_at_a_master(ros_master: RosMaster, robot: Any) -> None:
    command = ["simulate", "robot=playroom", "task=open_drawer", "transport=rospy", f"url={ros_master.address}"]
    process = subprocess.Popen([sys.executable, "-m", "laminar.cli", *command], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert f"robot playroom at {ros_master.address}" in process.stderr.readline()
        described = load_robot("playroom")
        seen: list[Any] = []
        topic = next(topic for topic, kind in described.types.items() if kind == STATES)
        robot.subscribe(topic, STATES, lambda message, arrival: seen.append(message))
        wait_for(lambda: len(seen) > 3)
        assert robot.call(described.reset, "", {}, 10)["success"]
    finally:
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=30)[1]
    assert "starts" in told
    assert process.returncode == 0
