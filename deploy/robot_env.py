"""A robot as an environment of gymnasium: `laminar/Robot-v0?robot=playroom&url=ws://127.0.0.1:9090`.

What is evaluated or improved in a simulator is on a robot, then, by the same words: `laminar eval env.id=…`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..data.robots.description import Camera, Robot
from ..data.robots.messages import Types
from ..data.robots.reading import load_robot
from ..errors import LaminarError
from .access import token_of
from .commands import limits_of
from .controller import Controller, watchdogs_of
from .episodes import come_to_rest
from .operator import Operator
from .pace import Pace
from .perception import Perception
from .supervisor import State, Supervisor
from .transports import TRANSPORTS

Array = NDArray[Any]
_CONNECT_WITHIN = 10.0  # seconds
_HOLD_AT_MOST = 10.0  # seconds that a step waits for a robot that is held, before the episode is cut off


class Given:
    """A pilot who does what somebody else has decided."""

    def __init__(self) -> None:
        """Want nothing yet."""
        self.action: Array | None = None
        self.waited, self.fresh = 0.0, True

    def begin(self, now: float) -> None:
        """Nothing is kept from before."""

    def decide(self, observation: Mapping[str, Array], now: float) -> Array | None:
        """Return the action that was given."""
        return self.action

    def planned(self) -> Array:
        """Return (1, A), as nothing is known but the action."""
        return np.empty((0, 0)) if self.action is None else self.action[None]


class RobotEnv(gymnasium.Env[dict[str, Array], Array]):
    """A robot behind its description's topics, in real time: a step lasts one control period.

    Commands go through the safety filter and the supervisor like those of `laminar deploy`. A step waits while the
    robot is held, for ten seconds at most; then the episode is truncated, and `info["hold"]` says why.

    Reward is 1 with the robot's success, which ends the episode, as `info["success"]` tells.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(
        self,
        robot: str = "playroom",
        url: str = "ws://127.0.0.1:9090",
        transport: str = "rosbridge",
        token: str | None = None,
        cameras: bool = False,
        max_seconds: float = 30.0,
        render_mode: str | None = None,
    ) -> None:
        """Connect.

        Args:
            robot: name or file of its description.
            url: of the bridge.
            transport: kind of bridge.
            token: of a bridge that wants one; that of the variable LAMINAR_TOKEN if None.
            cameras: whether observations have the pictures.
            max_seconds: until an episode is truncated.
            render_mode: None; a robot is looked at.

        Raises:
            LaminarError: there is no such description, or the robot cannot be reached.
        """
        described = load_robot(robot)
        shown = {key: one for key, one in described.observation.items() if cameras or not isinstance(one, Camera)}
        self.robot: Robot = replace(described, observation=shown)
        spec = self.robot.spec
        self.dt, self.render_mode = 1.0 / self.robot.rate_hz, render_mode
        self.action_names, self.action_unit = self.robot.action_names, spec.action.unit
        self.observation_units = {key: one.unit for key, one in spec.observation.items() if one.unit}
        shapes: Any = spaces.Dict({key: _box(one) for key, one in spec.observation.items()})
        self.observation_space = shapes
        low, high = (np.float32(limit) for limit in (limits_of(self.robot).low, limits_of(self.robot).high))
        self.action_space = spaces.Box(low, high, dtype=np.float32)
        types = Types()
        self._transport = TRANSPORTS.module(transport).opened(
            types, url, self.robot.dialect, token_of(token), _CONNECT_WITHIN
        )
        try:
            self._assemble(types, max_seconds)
        except BaseException:
            self._transport.close()
            raise

    def _assemble(self, types: Types, max_seconds: float) -> None:
        """Put the loop around the connection."""
        self._perception, self._pilot = Perception(self.robot, self._transport), Given()
        self._supervisor = Supervisor(watchdogs_of(self.robot))
        self._controller = Controller(
            self.robot, self._transport, types, self._perception, self._supervisor, self._pilot
        )
        self._operator = Operator(self._controller, self._transport)
        self._pace, self._steps, self._limit = Pace(self.dt), 0, round(max_seconds / self.dt)
        self._perception.subscribe()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Reset the robot as its description says, and see it.

        Args:
            seed: of the start, of a robot that takes one.
            options: none are known.

        Raises:
            LaminarError: it cannot be reset, or does not show itself.
        """
        super().reset(seed=seed)
        self._pilot.action, self._steps = None, 0
        self._operator.start(seed)
        self._pace.start(self._pace.clock() + self.dt)
        return self._observation(), {}

    def step(self, action: Array) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Command an action now, and return what is seen a control period later.

        Raises:
            LaminarError: before the first reset.
        """
        if self._perception.last is None:
            raise LaminarError("the robot was not reset: call reset() first")
        self._pilot.action = np.asarray(action, np.float64)
        state, self._steps = self._controller.act(), self._steps + 1
        self._pace.wait()
        self._controller.look()
        state = self._held(state)
        success = bool(self._operator.success)
        ended = "" if success else self._operator.ended
        over = state is not State.RUNNING or bool(ended)
        truncated = not success and (over or self._steps >= self._limit)
        reason = {"hold": ended or self._supervisor.log[-1].reason} if over else {}
        info: dict[str, Any] = {"success": success, **reason}
        if success or truncated:
            why = "success" if success else ended or "the episode is cut off"
            come_to_rest(self._controller, self._pace, why)
            self._operator.stop(why)
        return self._observation(), float(success), success, truncated, info

    def _held(self, state: State) -> State:
        """Wait while the robot is held, and return what it is then."""
        until = self._pace.clock() + _HOLD_AT_MOST
        if state is State.HOLD:
            self._pilot.action = None  # what was decided before is of no use after
        while state is State.HOLD and self._pace.clock() < until:
            state = self._controller.tick()
            self._pace.wait()
        return state

    def _observation(self) -> dict[str, Array]:
        sight = self._perception.last
        assert sight is not None  # nothing runs that was not seen
        return dict(sight.observation)

    def render(self) -> None:
        """Nothing: a robot is looked at."""

    def close(self) -> None:
        """Let go of the robot."""
        if self._perception.last is not None:
            come_to_rest(self._controller, self._pace, "closed")
        self._supervisor.stop("closed")
        self._transport.close()


def _box(feature: Any) -> spaces.Box:
    if feature.dtype == "uint8":
        return spaces.Box(0, 255, feature.shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, feature.shape, np.float32)
