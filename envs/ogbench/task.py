"""One of OGBench's tasks as laminar's environments are: what happens in an episode follows from its seed.

OGBench draws numbers beside those of the environment's seed, from numpy's global generator and from action spaces that
nobody seeds. And it tells success one step late: an action that is taken where the goal is reached earns the reward of
that state and ends the episode, as its data are labelled (`success_timing="pre"`, since OGBench 1.2).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..creation import create
from ..packages import named
from ..without_goal import WithoutGoal
from .library import load
from .names import Name

Array = NDArray[Any]


class Task(WithoutGoal):
    """A task with a reward. Observation (n,) float64, actions in [-1, 1].

    Reward: minus the number of things that are not where they should be; in mazes -1, and 0 at the goal.

    Attributes:
        simulator_name: versions that episodes depend on.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap an environment from `gymnasium.make`."""
        super().__init__(env)
        self.simulator_name = named("ogbench", "mujoco")
        self._inner: Any = env.unwrapped
        self._is_maze = hasattr(self._inner, "maze_map")
        if self._is_maze:
            self._inner.filmed_by = self._inner.custom_camera
            file = Path(self._inner.fullpath)
            if file.parent == Path(gettempdir()):  # the maze's walls, which its model has by now
                file.unlink(missing_ok=True)
        else:
            self._inner.filmed_by, self._inner.dt = "front", self._inner.control_timestep()
            _fix_spaces(self._inner)
        self.observation_space, self.action_space = self._inner.observation_space, self._inner.action_space
        self._numbers: Any = np.random.RandomState().get_state()
        self._teleports = getattr(self._inner, "_teleport_info", None) is not None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        if seed is not None:
            own, actions = np.random.SeedSequence(seed).generate_state(2)
            self._numbers = np.random.RandomState(own).get_state()
            self._inner.action_space.seed(int(actions))
        with self._own_numbers():
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Advance one control step."""
        if self._teleports:
            with self._own_numbers():
                observation, reward, terminated, truncated, info = self.env.step(action)
        else:
            observation, reward, terminated, truncated, info = self.env.step(action)
        info["success"] = bool(info["success"])
        return observation, float(reward), bool(terminated), truncated, info

    @contextmanager
    def _own_numbers(self) -> Generator[None]:
        """Let numpy's global generator draw this environment's numbers, and leave it as it was."""
        before = np.random.get_state()
        np.random.set_state(self._numbers)
        try:
            yield
        finally:
            self._numbers = np.random.get_state()
            np.random.set_state(before)


def make_task(name: Name, arguments: Mapping[str, Any] | None = None, render: bool = False) -> Task:
    """Make a task.

    Args:
        name: of the task.
        arguments: of OGBench's environment.
        render: make it able to give pictures.

    Raises:
        LaminarError: OGBench is not installed, or the environment takes no such argument.
    """
    load(name.env_id)
    return Task(create(name.env_id, arguments or {}, render))


def _fix_spaces(env: Any) -> None:
    """Let an environment with an arm have spaces once: it makes new ones, with a warning, whenever somebody looks."""
    kind: Any = type(env)
    env.__class__ = type(kind.__name__, (kind,), {"action_space": None, "observation_space": None})
    env.action_space = spaces.Box(-1.0, 1.0, (5,), np.float32)
    # The first reset builds the model, and finds the arm's controllers as they come, all others as OGBench sets them.
    env.observation_space = kind.observation_space.fget(env)
