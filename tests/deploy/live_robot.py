"""A robot in real time in threads of its own, with the loop of `laminar deploy` around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from laminar.data.robots.description import Camera, Output, Part, Robot, Watch
from laminar.data.robots.names import BOOL
from laminar.deploy.controller import Controller, watchdogs_of
from laminar.deploy.episodes import Episode, run_episode
from laminar.deploy.operator import Operator
from laminar.deploy.pace import Pace
from laminar.deploy.page import Page, Watched
from laminar.deploy.perception import Perception
from laminar.deploy.simulated import SimulatedRobot
from laminar.deploy.supervisor import State, Supervisor
from laminar.deploy.transports.loopback import Bus, Loopback

STATES, NUMBERS, IMAGE = "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray", "sensor_msgs/msg/Image"
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow", "wrist", "gripper")
MEASURED = (Part("/joints", "position", JOINTS),)
# long watchdogs: a test machine may be busy
LIVE = Robot(
    name="live",
    dialect="ros2",
    rate_hz=50.0,
    types={"/joints": STATES, "/move": NUMBERS, "/camera": IMAGE, "/stop": BOOL},
    observation={"arm": MEASURED, "camera": Camera("/camera", 48, 64)},
    action=(Output("/move", "data", JOINTS, MEASURED, (), (-1.5,) * 5, (1.5,) * 5, (1.0,) * 5),),
    watch=Watch(arrival=1.0, stamp=1.0, actions=2.0, transport=1.0),
    units={"action": "rad"},
    estop="/stop",
    reset="/reset",
    source="live.yaml",
)


class Arm(gymnasium.Env[Any, Any]):
    """Joints that are where they are told to be, and a picture of them."""

    observation_space = spaces.Dict(
        {
            "arm": spaces.Box(-np.inf, np.inf, (5,), np.float32),
            "camera": spaces.Box(0, 255, (48, 64, 3), np.uint8),
        }
    )
    action_space = spaces.Box(-1.5, 1.5, (5,), np.float32)
    metadata = {"render_fps": 50}  # noqa: RUF012

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = np.zeros(5, np.float32)
        return self._seen(), {}

    def _seen(self) -> Any:
        picture = np.full((48, 64, 3), (40, 60, 90), np.uint8)
        for joint, place in enumerate(self.place):
            middle = int(np.clip(32 + 20 * place, 3, 60))
            picture[6 + 8 * joint : 11 + 8 * joint, middle - 3 : middle + 3] = (240, 170 - 25 * joint, 60 + 30 * joint)
        return {"arm": self.place, "camera": picture}

    def step(self, action: Any) -> Any:
        self.place = (0.5 * self.place + 0.5 * action).astype(np.float32)
        return self._seen(), 0.0, False, False, {"success": False}


class Waving:
    """A pilot who moves every joint, and tells of inference now and then."""

    def __init__(self) -> None:
        self.waited, self.fresh, self.latencies = 0.0, True, list[float]()
        self._count = 0

    def begin(self, now: float) -> None: ...

    def decide(self, observation: Any, now: float) -> Any:
        self._count += 1
        if self._count % 8 == 0:
            self.latencies.append(0.004 + 0.002 * np.sin(now) + 0.012 * (self._count % 240 == 0))
        return np.sin(now * np.linspace(0.5, 1.1, 5))

    def planned(self) -> Any:
        return np.empty((0, 5))


class Live:
    """A robot, and a run of some episodes on it that a test looks at.

    Attributes:
        commands: time of the steady clock at which each command came to the robot.
    """

    def __init__(self, episodes: int = 100, seconds: float = 60.0, **changes: Any) -> None:
        self.robot = replace(LIVE, **changes)
        bus = Bus()
        self.side, self.transport = Loopback(bus), Loopback(bus)
        self.side.open()
        self.transport.open()
        self.commands: list[float] = []
        self.side.subscribe("/move", NUMBERS, lambda message, arrival: self.commands.append(time.monotonic()))
        self.simulated = SimulatedRobot(Arm(), self.robot, self.side, bus.types)
        self.perception, self.pilot = Perception(self.robot, self.transport), Waving()
        self.supervisor = Supervisor(watchdogs_of(self.robot))
        self.controller = Controller(
            self.robot, self.transport, bus.types, self.perception, self.supervisor, self.pilot
        )  # fmt: skip
        self.perception.subscribe()
        self.operator = Operator(self.controller, self.transport)
        self.pace, self.done = Pace(self.controller.period), list[Episode]()
        self.watched = Watched(
            self.controller, self.operator, self.pace, self.done, episodes, self.pilot.latencies
        )  # fmt: skip
        self._seconds, self._over, self._gone = seconds, threading.Event(), threading.Event()

    @contextmanager
    def running(self) -> Generator[Page]:
        """The robot and its run in threads of their own, and the page."""
        robot = threading.Thread(target=self.simulated.run, args=(self._gone,), daemon=True)
        loop = threading.Thread(target=self._run, daemon=True)
        robot.start()
        with Page(self.watched, port=0) as page:
            loop.start()
            try:
                yield page
            finally:
                self._end(loop)
                self._gone.set()
                robot.join(timeout=5)

    def _end(self, loop: threading.Thread) -> None:
        """End the episode, and let one that waits for its person begin and end."""
        self._over.set()
        self.operator.person.present = False
        until = time.monotonic() + 10
        while loop.is_alive():
            assert time.monotonic() < until, "the run does not end"
            if self.supervisor.state is State.ESTOP:
                self.supervisor.release()
            if self.supervisor.state is State.IDLE:
                self.operator.person.run("the test is over")
            self.supervisor.stop("the test is over")
            loop.join(timeout=0.02)

    def _run(self) -> None:
        for number in range(self.watched.episodes):
            if self._over.is_set():
                return
            run_episode(self.controller, self.operator, self.pace, number, self._seconds, self.done)
