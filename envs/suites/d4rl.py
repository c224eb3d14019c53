"""The benchmark ids of D4RL, and the Adroit hand: today's environments with D4RL's observations and rewards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ...errors import LaminarError
from ..creation import check_known, create
from ..d4rl import D4RLTask, d4rl_table, resolve
from ..ids import split_id
from ..limits import ClipActions
from ..mazes import AntMaze, Maze2D, ant_layout
from ..without_goal import WithoutGoal

Array = NDArray[Any]
StepResult = tuple[Any, float, bool, bool, dict[str, Any]]
_HAND = ("Door", "Hammer", "Pen", "Relocate")
_HAND_ID = re.compile(rf"AdroitHand({'|'.join(_HAND)})-v")


def ids() -> Iterable[str]:
    """Yield D4RL's ids, those too that nothing runs today, and gymnasium's ids of the Adroit hand."""
    yield from d4rl_table()
    known = {f"AdroitHand{task}-v1" for task in _HAND}  # before anybody has loaded the package that registers them
    yield from sorted(known | {name for name in gymnasium.registry if _HAND_ID.match(name)})


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make an environment with the benchmark's observation, reward and time limit.

    Raises:
        LaminarError: arguments, or an id that no installed package can run.
    """
    name, arguments = split_id(env_id)
    task = resolve(name)
    if task is None or task.gymnasium_id is None:
        raise LaminarError(
            f"no current package has an environment for D4RL id '{name}' (family {task.family if task else name}); "
            "its reference scores and data files can be used, rollouts cannot"
        )
    if arguments:
        raise LaminarError(
            f"'{name}' is a benchmark with a fixed task and takes no arguments, got {sorted(arguments)}; "
            f"use the id alone, or a gymnasium id of your own (this one runs on '{task.gymnasium_id}')"
        )
    kwargs = task.kwargs | ({"maze_map": ant_layout(task)} if task.adapter == "antmaze" else {})
    if task.max_steps is not None:
        kwargs["max_episode_steps"] = task.max_steps
    check_known(task.gymnasium_id, name, d4rl_table())
    env = create(task.gymnasium_id, kwargs, render)
    # The adapted ones clip by themselves; in the others an action beyond its limits is charged for in full.
    return _ADAPTERS[task.adapter](env, task) if task.adapter else ClipActions(env)


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

    def step(self, action: Any) -> StepResult:
        """Advance one step; only the reward differs from the wrapped environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._reach is not None:
            reward = float(reward) - 0.2 * float(np.linalg.norm(self._reach(observation)))
        return observation, float(reward), terminated, truncated, info


class KitchenObservation(WithoutGoal):
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

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._flat(observation), info

    def step(self, action: Any) -> StepResult:
        """Advance one step; only the observation differs from the wrapped environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._flat(observation), float(reward), terminated, truncated, info

    def _flat(self, observation: Any) -> Array:
        values = observation["observation"]  # robot joints 9, their velocities 9, objects 21, their velocities 20
        return np.concatenate([values[:9], values[18:39], self._goal])


_ADAPTERS: dict[str, Callable[[gymnasium.Env[Any, Any], D4RLTask], gymnasium.Env[Any, Any]]] = {
    "adroit": AdroitReward,
    "antmaze": AntMaze,
    "kitchen": KitchenObservation,
    "maze2d": Maze2D,
}
