"""Wrappers that give today's environments the observations and rewards of the D4RL recordings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .d4rl import D4RLTask
from .mazes import AntMaze, Maze2D

Array = NDArray[Any]
Step = tuple[Any, float, bool, bool, dict[str, Any]]


class FlatKeys(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Flatten nested Dict observations to one level; keys are joined by "/" as in HDF5 files."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap `env`, whose observation space must be a Dict."""
        super().__init__(env)
        self.observation_space = spaces.Dict(_flatten(env.observation_space))

    def observation(self, observation: Any) -> dict[str, Array]:
        """Return one level of keys."""
        return _flatten(observation)


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict | spaces.Dict):
            flat |= _flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


# the vector from the palm to what it has to reach, from the observation
_REACH: dict[str, Callable[[Array], Array]] = {
    "door": lambda observation: observation[35:38],
    "hammer": lambda observation: observation[33:36] - observation[36:39],
    "relocate": lambda observation: observation[30:33],
}


class AdroitReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Give the reach term of the Adroit hand its published sign, -0.1 |palm - object|.

    Rajeswaran et al., "Learning Complex Dexterous Manipulation with Deep Reinforcement Learning and Demonstrations",
    2018, and D4RL subtract the distance; gymnasium-robotics 1.2.1 to 1.4.2 add it in the -v1 environments.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], task: D4RLTask) -> None:
        """Wrap a dense Adroit environment."""
        super().__init__(env)
        self._reach = _REACH.get(task.family)

    def step(self, action: Any) -> Step:
        """Advance one step; only the reward differs from the wrapped environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._reach is not None:
            reward = float(reward) - 0.2 * float(np.linalg.norm(self._reach(observation)))
        return observation, float(reward), terminated, truncated, info


class KitchenObservation(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Give the kitchen D4RL's flat observation (60,): 9 robot joints, 21 object coordinates, goal (30,).

    The goal holds the wanted coordinates of the task's elements and zeros elsewhere.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], task: D4RLTask) -> None:
        """Wrap FrankaKitchen."""
        from gymnasium_robotics.envs.franka_kitchen.kitchen_env import OBS_ELEMENT_GOALS, OBS_ELEMENT_INDICES

        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (60,), np.float64)
        self._goal = np.zeros(30)
        for element in task.kwargs["tasks_to_complete"]:
            self._goal[OBS_ELEMENT_INDICES[element]] = OBS_ELEMENT_GOALS[element]

    def observation(self, observation: Any) -> Array:
        """Return joints, object coordinates and goal."""
        values = observation["observation"]  # robot joints 9, their velocities 9, objects 21, their velocities 20
        return np.concatenate([values[:9], values[18:39], self._goal])


ADAPTERS: dict[str, Callable[[gymnasium.Env[Any, Any], D4RLTask], gymnasium.Env[Any, Any]]] = {
    "adroit": AdroitReward,
    "antmaze": AntMaze,
    "kitchen": KitchenObservation,
    "maze2d": Maze2D,
}
