"""An environment behind a robot's topics: it begins where the environment does, and obeys like a robot."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from laminar.data.robots.description import Output, Part, Robot
from laminar.data.robots.names import BOOL, TRIGGER, WHOLE
from laminar.data.robots.observing import observation_of
from laminar.deploy.simulated import SimulatedRobot
from laminar.deploy.transports.loopback import Bus, Loopback
from laminar.errors import LaminarError

NUMBERS, STATES = "std_msgs/msg/Float64MultiArray", "sensor_msgs/msg/JointState"


class Line(gymnasium.Env[Any, Any]):
    """A point that is pushed to 1; after 10 steps time is up."""

    observation_space = spaces.Dict({"place": spaces.Box(-np.inf, np.inf, (2,), np.float32)})
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    metadata = {"render_fps": 20}  # noqa: RUF012

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place, self.count = np.array([float(seed or 0) / 100, 0.0]), 0
        return self._seen(), {}

    def _seen(self) -> Any:
        return {"place": self.place.astype(np.float32)}

    def step(self, action: Any) -> Any:
        self.place, self.count = self.place + 0.5 * action, self.count + 1
        done = bool(self.place[0] >= 1)
        return self._seen(), float(done), done, self.count >= 10, {"success": done}


ROBOT = Robot(
    name="line",
    dialect="ros2",
    rate_hz=20.0,
    types={"/place": STATES, "/push": NUMBERS, "/success": BOOL, "/seed": WHOLE, "/estop": BOOL},
    observation={"place": (Part("/place", "position", ("x", "y")),)},
    action=(Output("/push", "data", ("x", "grip"), rest=(0.0, None), low=(-1.0, -1.0), high=(1.0, 1.0)),),
    reset="/reset",
    estop="/estop",
    seed="/seed",
    success="/success",
    source="line.yaml",
)


class Side:
    """Whoever drives the robot."""

    def __init__(self, **roles: str) -> None:
        self.bus = Bus()
        self.robot_side, self.mine = Loopback(self.bus), Loopback(self.bus)
        self.robot_side.open()
        self.mine.open()
        self.env = Line()
        robot = replace(ROBOT, **roles, types={**ROBOT.types, **dict.fromkeys(roles.values(), WHOLE)})
        self.simulated = SimulatedRobot(self.env, robot, self.robot_side, self.bus.types, seed=5)
        self.places: list[np.ndarray] = []
        self.success: list[bool] = []
        self.mine.subscribe("/place", STATES, self._see)
        self.mine.subscribe("/success", BOOL, lambda message, arrival: self.success.append(message["data"]))
        self.reset()

    def _see(self, message: dict[str, Any], arrival: float) -> None:
        self.places.append(observation_of(ROBOT, {"/place": message})["place"])

    def reset(self) -> dict[str, Any]:
        """Call the service as another thread does, while the robot goes on."""
        answers: list[dict[str, Any]] = []
        caller = threading.Thread(target=lambda: answers.append(self.mine.call("/reset", TRIGGER, {}, 5.0)))
        caller.start()
        while caller.is_alive():
            self.simulated.tick()
            caller.join(0.001)
        return answers[0]

    def push(self, *numbers: float) -> None:
        self.mine.publish("/push", NUMBERS, {"data": np.array(numbers)})
        self.simulated.tick()


def test_it_stands_still_until_the_first_command() -> None:
    side = Side()
    for _ in range(15):
        side.simulated.tick()
    assert side.simulated.steps == 0
    assert side.places[-1] == pytest.approx([0.05, 0.0])
    side.push(1.0, 0.0)
    assert side.simulated.steps == 1
    assert side.places[-1] == pytest.approx([0.55, 0.0])


def test_every_start_has_a_number_of_its_own() -> None:
    """Also one of a simulator that came back, whose first start it is."""
    numbers: list[int] = []
    for _ in range(2):
        side = Side(start="/start")
        side.mine.subscribe("/start", WHOLE, lambda message, arrival: numbers.append(message["data"]))
        side.simulated.tick()
        side.simulated.tick()
        side.reset()
        side.simulated.tick()
    assert len({*numbers}) == 4
    assert numbers == sorted(numbers[: len(numbers) // 2]) + sorted(numbers[len(numbers) // 2 :])


def test_starts_are_those_of_the_seeds() -> None:
    side = Side()
    side.reset()
    assert side.places[-1] == pytest.approx([0.06, 0.0])
    side.mine.publish("/seed", WHOLE, {"data": 40})
    assert side.reset()["success"] is True
    assert side.places[-1] == pytest.approx([0.4, 0.0])


def test_a_period_without_a_command_is_one_of_rest_and_what_keeps_keeps() -> None:
    side = Side()
    side.push(-0.4, 1.0)
    side.simulated.tick()
    assert side.simulated.steps == 2
    assert side.places[-1] == pytest.approx([-0.15, 1.0]), "the push rests, the grip goes on"


def test_success_is_told_and_the_end_is_shown_until_the_next_reset() -> None:
    side = Side()
    side.push(1.0, 0.0)
    assert side.success[-1] is False
    side.push(1.0, 0.0)
    assert side.success[-1] is True
    side.push(1.0, 0.0)
    assert side.simulated.steps == 2
    side.reset()
    assert side.success[-1] is False


def test_what_is_no_command_is_counted_and_not_obeyed() -> None:
    side = Side()
    side.push(1.0)
    assert side.simulated.steps == 0
    assert side.simulated.refused[0] == 1
    assert "expected (2,)" in side.simulated.refused[1]
    side.push(float("nan"), 0.0)
    assert side.simulated.refused[0] == 2


def test_after_an_emergency_stop_it_does_not_move() -> None:
    side = Side()
    side.push(0.1, 0.0)
    side.mine.publish("/estop", BOOL, {"data": True})
    where = side.places[-1]
    side.push(1.0, 1.0)
    assert side.places[-1] == pytest.approx(where)
    side.mine.publish("/estop", BOOL, {"data": False})
    side.push(0.1, 0.0)
    assert side.places[-1] != pytest.approx(where)


def test_another_robots_environment_is_refused() -> None:
    bus = Bus()
    side = Loopback(bus)
    side.open()
    with pytest.raises(LaminarError, match="'observation'"):
        SimulatedRobot(gymnasium.make("Pendulum-v1"), ROBOT, side, bus.types)
