"""An arm of seven joints that is swung at 100 Hz by the whole control loop, over whatever transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from laminar.data.robots.description import Output, Part, Robot, Watch
from laminar.data.robots.messages import Types
from laminar.deploy.controller import Controller, watchdogs_of
from laminar.deploy.episodes import Episode, run_episode
from laminar.deploy.operator import Operator
from laminar.deploy.pace import Pace
from laminar.deploy.perception import Perception
from laminar.deploy.supervisor import State, Supervisor
from laminar.deploy.transport import Transport

STATES, TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"
JOINTS = tuple(f"joint{i}" for i in range(7))
SPEED = 2.0  # radians a second, of each joint
WATCH = Watch(arrival=0.25, stamp=0.25, actions=0.5, transport=0.25)


def arm(rate: float = 100.0, watch: Watch = WATCH, **changes: Any) -> Robot:
    measured = (Part("/arm/joints", "position", JOINTS),)
    limits = {"low": (-3.0,) * 7, "high": (3.0,) * 7, "velocity": (SPEED,) * 7}
    return Robot(
        name="arm",
        dialect="ros1",
        rate_hz=rate,
        types={"/arm/joints": STATES, "/arm/command": TRAJECTORY, "/arm/estop": "std_msgs/msg/Bool"},
        observation={"arm": measured},
        action=(Output("/arm/command", "positions", JOINTS, measured, **limits),),
        watch=watch,
        source="arm.yaml",
        **changes,
    )


class Swing:
    """A pilot that swings every joint, and is never late."""

    waited, fresh = 0.0, True

    def begin(self, now: float) -> None:
        self.begun = now

    def decide(self, observation: Mapping[str, Any], now: float) -> np.ndarray:
        return 0.5 * np.sin(now - self.begun + np.arange(7.0))

    def planned(self) -> np.ndarray:
        return np.zeros((0, 7))


class Steady:
    """The control loop on the arm, in this thread."""

    def __init__(self, transport: Transport, robot: Robot | None = None) -> None:
        self.robot, self.transport = robot or arm(), transport
        self.supervisor = Supervisor(watchdogs_of(self.robot))
        self.perception = Perception(self.robot, transport)
        self.controller = Controller(self.robot, transport, Types(), self.perception, self.supervisor, Swing())
        self.perception.subscribe()
        self.operator = Operator(self.controller, transport)
        self.pace = Pace(1 / self.robot.rate_hz)

    def drive(self, seconds: float) -> None:
        """Run an episode as `laminar deploy` does."""
        done: list[Episode] = []
        run_episode(self.controller, self.operator, self.pace, 0, seconds, done)
        self.why = done[0].why

    def until(self, met: Callable[[], bool], periods: int) -> bool:
        """Go on until a condition is met, for so many control periods at most; returns whether it was."""
        for _ in range(periods):
            self.pace.wait()
            self.controller.act(self.controller.look())
            if met():
                return True
        return False

    def is_in(self, state: State) -> Callable[[], bool]:
        return lambda: self.supervisor.state is state

    def told(self) -> dict[str, float]:
        """Return what deploy.json would say."""
        added = 1e3 * np.array(self.controller.counts.latencies)
        p50, p99 = np.quantile(added, [0.5, 0.99])
        counts = self.controller.counts
        return self.pace.told() | {
            "added_ms_p50": float(p50),
            "added_ms_p99": float(p99),
            "added_ms_max": float(added.max()),
            "commands": counts.commands,
            "dropped": counts.dropped,
            "holds": sum(change.after is State.HOLD for change in self.supervisor.log),
        }
