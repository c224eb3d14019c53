"""A robot of two joints and a clock that stands still until it is told otherwise, to run the control loop on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from laminar.data.robots.description import Output, Part, Robot, Watch
from laminar.data.robots.messages import Types, stamped
from laminar.data.spec import Spec
from laminar.deploy.controller import Controller, watchdogs_of
from laminar.deploy.perception import Perception
from laminar.deploy.pilot import PolicyPilot
from laminar.deploy.planner import Request
from laminar.deploy.scheduler import ChunkScheduler, Dated
from laminar.deploy.supervisor import Supervisor
from laminar.deploy.transports.loopback import Bus, Loopback
from laminar.policies.acting import Actor

STATES, TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"
JOINTS = ("shoulder", "elbow")
RATE = 20.0
MEASURED = (Part("/joints", "position", JOINTS),)


def robot(**changes: Any) -> Robot:
    """Positions in [-1, 1] that change by at most 2 a second."""
    output = {"low": (-1.0, -1.0), "high": (1.0, 1.0), "velocity": (2.0, 2.0)} | changes
    return Robot(
        name="toy",
        dialect="ros2",
        rate_hz=RATE,
        types={"/joints": STATES, "/move": TRAJECTORY, "/scene": STATES},
        observation={"arm": MEASURED, "scene": (Part("/scene", "position", ("drawer",)),)},
        action=(Output("/move", "positions", JOINTS, MEASURED, **output),),
        watch=Watch(arrival=0.12, stamp=0.12, actions=0.3, transport=0.12),
        source="toy.yaml",
    )


class Toy:
    """A policy whose chunks are what a function says of the observation."""

    noise_shape = None

    def __init__(self, spec: Spec, chunk: Callable[[np.ndarray], Any], length: int, execute: int) -> None:
        from dataclasses import replace

        self.spec = replace(spec, chunk=length, execute=execute)
        self._chunk = chunk

    def sample(self, obs: Any, noise: Any = None, generator: Any = None) -> torch.Tensor:
        return torch.as_tensor(np.asarray(self._chunk(obs["arm"][0, -1].numpy())), dtype=torch.float32)[None]


class Inline:
    """A planner without a thread: a chunk comes `delay` control periods after it was asked for."""

    def __init__(self, actor: Actor, clock: Callable[[], float]) -> None:
        self.latencies: list[float] = []
        self.delay, self.asked = 0, 0
        self._actor, self._clock, self._waiting = actor, clock, list[tuple[float, Request]]()

    usual = 0.0

    @property
    def idle(self) -> bool:
        """As of the planner with a thread, which is idle as soon as it has its answer, taken or not."""
        return all(due <= self._clock() for due, _ in self._waiting)

    def ask(self, request: Request) -> None:
        self.asked += 1
        self._waiting.append((self._clock() + (self.delay - 0.5) / RATE, request))

    def wait(self, seconds: float) -> None: ...

    def take(self) -> list[Dated]:
        ready = [request for due, request in self._waiting if due <= self._clock()]
        self._waiting = [one for one in self._waiting if one[0] > self._clock()]
        everyone = np.ones(1, bool)
        return [
            Dated(self._actor.plan(one.windows, everyone).chunk[0].double().numpy(), one.start, one.epoch)
            for one in ready
        ]


class Rig:
    """The control loop on a toy robot, a period at a time."""

    def __init__(
        self,
        chunk: Callable[[np.ndarray], Any] = lambda arm: np.tile(arm, (8, 1)),
        execute: int = 4,
        dry_run: bool = False,
        record: Any = None,
        described: Robot | None = None,
        **changes: Any,
    ) -> None:
        self.time, self.offset = 100.0, 1e6  # of the steady clock, and what the robot's is ahead of it
        self.bus = Bus(clock=lambda: self.time + self.offset, steady=lambda: self.time)
        self.robot = described or robot(**changes)
        self.types: Types = self.bus.types
        self.arm, self.drawer = np.array([0.3, -0.2]), 0.0
        self.commands: list[tuple[float, np.ndarray]] = []  # when, and all points
        self.shown: Callable[[str, dict[str, Any]], dict[str, Any] | None] = lambda topic, message: message
        self._side, self.transport = Loopback(self.bus), Loopback(self.bus)
        self._side.open()
        self.transport.open()
        self._side.subscribe("/move", TRAJECTORY, self._obey)
        clock = lambda: self.time  # noqa: E731
        kept = {} if record is None else {"record": record}
        self.perception = Perception(self.robot, self.transport, clock=clock, **kept)
        self.perception.subscribe()
        self.supervisor = Supervisor(watchdogs_of(self.robot), clock)
        self.scheduler = ChunkScheduler(1 / RATE)
        policy = Toy(self.robot.spec, chunk, 8, execute)
        actor = Actor(policy)
        self.planner = Inline(actor, clock)
        pilot = PolicyPilot(actor, self.planner, self.scheduler, clock)  # type: ignore[arg-type]
        self.controller = Controller(
            self.robot, self.transport, self.types, self.perception, self.supervisor, pilot,
            dry_run=dry_run, clock=clock, **kept,
        )  # fmt: skip

    def _obey(self, message: dict[str, Any], arrival: float) -> None:
        points = np.array([point["positions"] for point in message["points"]])
        self.commands.append((self.time, points))
        self.arm = points[0].copy()

    def show(self) -> None:
        """Let the robot show where it is."""
        for topic, names, values in (("/joints", JOINTS, self.arm), ("/scene", ("drawer",), [self.drawer])):
            header = stamped(self.time + self.offset)
            message = self.shown(topic, {"header": header, "name": list(names), "position": np.array(values)})
            if message is not None:
                self._side.publish(topic, STATES, message)

    def period(self, show: bool = True) -> Any:
        """One control period: the robot shows itself, and the loop does what is to be done."""
        self.time += 1 / RATE
        if show:
            self.show()
        return self.controller.tick()

    def start(self) -> None:
        """Arm and run, as an episode does."""
        self.show()
        self.perception.look()
        self.controller.warm()
        self.supervisor.arm()
        self.supervisor.run()

    def run(self, periods: int, show: bool = True) -> list[Any]:
        return [self.period(show) for _ in range(periods)]

    @property
    def reason(self) -> str:
        """Of the last change of state."""
        return self.supervisor.log[-1].reason

    @property
    def still(self) -> bool:
        """Whether the last command was where the arm is."""
        return bool(np.allclose(self.commands[-1][1], self.arm, atol=math.ulp(1.0)))
