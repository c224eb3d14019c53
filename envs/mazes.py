"""The D4RL mazes on gymnasium-robotics: coordinates, starts, goals and rewards of the recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..errors import LaminarError, nearest
from .d4rl import D4RLTask
from .maze_map import MazeMap
from .without_goal import WithoutGoal

Array = NDArray[Any]
StepResult = tuple[Array, float, bool, bool, dict[str, Any]]

_POINT_GOALS = {"open": (2, 3), "umaze": (1, 1), "medium": (6, 6), "large": (7, 9)}  # (row, column) of the cell
_ANT_GOALS = {"umaze": (3, 1), "medium": (6, 6), "large": (7, 9)}
_ANT_START = (1, 1)
_GOAL_RADIUS = 0.5  # meters


class Maze2D(WithoutGoal):
    """Point mass in a maze in D4RL's frame: observation (row - 0.2, column - 0.2, and their velocities), (4,).

    gymnasium-robotics has x along the columns and y against the rows, so observation and action are rotated by a
    quarter turn. Never terminated; reward 1 within 0.5 m of the goal after the step, or exp(-distance) for the dense
    ids. The rewards in D4RL's maze2d files are those of the observation *before* the action.

    Attributes:
        maze_map: the walls.
        goal: (2,) of this episode.
        on_request: D4RL's observation does not tell the goal; a policy that was trained with it gets it.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], task: D4RLTask, many: bool = False) -> None:
        """Wrap PointMaze of gymnasium-robotics.

        Args:
            env: of the maze.
            task: says which maze it is, and whether rewards are dense.
            many: each episode draws a goal in another free cell than it starts in; else there is D4RL's fixed one.
        """
        super().__init__(env)
        self._maze: Any = env.unwrapped
        self.maze_map = MazeMap.of_layout(self._maze.maze.maze_map)
        self._rows, self._columns = self.maze_map.walls.shape
        self._fixed = np.array(_POINT_GOALS[task.family.split("-")[-1]], np.float64)
        self.goal, self._many = self._fixed, many
        self._dense = "dense" in task.id
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.on_request = {"goal": spaces.Box(self.maze_map.low, self.maze_map.high, (2,), np.float64)}

    def requested(self) -> dict[str, Array]:
        """Return what is shown on request: where the goal is."""
        return {"goal": self.goal.copy()}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start near a random free cell with a little speed.

        Args:
            seed: decides start and goal.
            options: "start" (4,), an observation to start with; "goal" (2,), a goal of your own.

        Raises:
            LaminarError: another option, or a place that is in a wall or outside the map.
        """
        options = options or {}
        for name in options.keys() - {"start", "goal"}:
            raise LaminarError(f"a maze has no option '{name}' (known: start, goal){nearest(name, ('start', 'goal'))}")
        _, info = self.env.reset(seed=seed)
        random = self._maze.np_random
        if options.get("start") is None:
            start = np.concatenate([self.maze_map.draw(random), 0.1 * random.standard_normal(2)])
        else:
            start = self._checked(options["start"])
        drawn = self.maze_map.draw(random, besides=start[:2]) if self._many else self._fixed
        self.goal = drawn if options.get("goal") is None else self.maze_map.check_free(options["goal"], "goal")
        self._maze.goal = self._to_simulator(self.goal)
        self._maze.update_target_site_pos()
        self._maze.point_env.set_state(self._to_simulator(start[:2]), _turn(start[2:]))
        return self._observe(), info

    def _checked(self, start: Any) -> Array:
        found = np.asarray(start, np.float64)
        if found.shape != (4,) or not np.isfinite(found).all():
            raise LaminarError(f"start has shape {found.shape}, expected 4 finite numbers: position and velocity")
        self.maze_map.check_free(found[:2], "start")
        return found

    def step(self, action: Any) -> StepResult:
        """Apply a force (rows, columns) in [-1, 1]."""
        _, _, _, truncated, info = self.env.step(_turn(np.asarray(action)))
        observation = self._observe()
        distance = float(np.linalg.norm(observation[:2] - self.goal))
        info["success"] = distance <= _GOAL_RADIUS
        reward = float(np.exp(-distance)) if self._dense else float(info["success"])
        return observation, reward, False, truncated, info

    def planned_figures(self, planned: Mapping[str, Any]) -> dict[str, float]:
        """Return the share of the steps of a plan that lead through walls."""
        if "observation" not in planned:
            return {}
        return {"planned steps through walls": float(self.maze_map.share_through_walls(planned["observation"][:, :2]))}

    def _to_simulator(self, place: Array) -> Array:
        # the center of cell (row, column) is at (row - 0.2, column - 0.2) in D4RL's frame
        return np.array([place[1] + 0.7 - self._columns / 2, self._rows / 2 - 0.7 - place[0]])

    def _observe(self) -> Array:
        data = self._maze.data
        x, y = data.qpos
        vx, vy = data.qvel
        return np.array([self._rows / 2 - 0.7 - y, x - 0.7 + self._columns / 2, -vy, vx])


def _turn(vector: Array) -> Array:
    """Turn (along rows, along columns) into (x, y)."""
    return np.array([vector[1], -vector[0]])


def ant_layout(task: D4RLTask) -> list[list[Any]]:
    """Return the maze of an antmaze id for gymnasium-robotics.

    Rows are in reverse order, because D4RL's y grows with the row and gymnasium-robotics' y falls with it.
    """
    from gymnasium_robotics.envs.maze import maps

    size = task.id.split("-")[1]
    source = {"umaze": maps.U_MAZE, "medium": maps.MEDIUM_MAZE, "large": maps.LARGE_MAZE}[size]
    layout: list[list[Any]] = [[1 if cell == 1 else 0 for cell in row] for row in source]
    layout[_ANT_START[0]][_ANT_START[1]] = "r"
    goal = _ANT_GOALS[size]
    layout[goal[0]][goal[1]] = "g"
    return layout[::-1]


class AntMaze(WithoutGoal):
    """Ant in a maze as in D4RL: observation (29,) = joint positions (15) and velocities (14), start at the origin.

    D4RL's ant is weaker and slower than gymnasium's: motors of 30 instead of 150 Nm, 10 control steps a second. The
    goal is drawn anew for each episode (as D4RL's -v2 ids do) and is not observed; within 0.5 m of it the reward is
    1 and the episode ends.
    """

    _CELL = 4.0  # meters

    def __init__(self, env: gymnasium.Env[Any, Any], task: D4RLTask) -> None:
        """Wrap AntMaze of gymnasium-robotics made with `ant_layout`."""
        super().__init__(env)
        self._maze: Any = env.unwrapped
        self._maze.model.opt.timestep = 0.02  # seconds, five a control step
        self._maze.model.actuator_gear[:, 0] = 30.0
        layout = self._maze.maze.maze_map
        # D4RL's origin is the center of the start cell, gymnasium-robotics' the center of the maze
        self._origin = self._CELL * (np.array([len(layout[0]), len(layout)]) / 2 - 1.5)
        row, column = _ANT_GOALS[task.id.split("-")[1]]
        self._goal_cell = self._CELL * np.array([column - _ANT_START[1], row - _ANT_START[0]], np.float64)
        self._goal = self._goal_cell
        self.observation_space = spaces.Box(-np.inf, np.inf, (29,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start at the origin with small noise and draw a goal in the goal cell."""
        _, info = self.env.reset(seed=seed)
        random, ant = self._maze.np_random, self._maze.ant_env
        self._goal = np.maximum(self._goal_cell + random.uniform(0, 1, size=2) + random.uniform(0, 0.5, size=2), 0)
        self._maze.goal = self._goal - self._origin
        self._maze.update_target_site_pos()
        position = ant.init_qpos.copy()
        position[:2] = -self._origin
        position += random.uniform(-0.1, 0.1, size=position.shape)
        ant.set_state(position, 0.1 * random.standard_normal(ant.init_qvel.shape))
        return self._observe(), info

    def step(self, action: Any) -> StepResult:
        """Apply joint torques in [-1, 1]."""
        _, _, _, truncated, info = self.env.step(action)
        observation = self._observe()
        success = bool(np.linalg.norm(observation[:2] - self._goal) <= _GOAL_RADIUS)
        info["success"] = success
        return observation, float(success), success, truncated, info

    def _observe(self) -> Array:
        data = self._maze.data
        observation = np.concatenate([data.qpos[:15], data.qvel[:14]])
        observation[:2] += self._origin
        return observation
