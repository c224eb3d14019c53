"""laminar's own first task: a point mass drives around a block to a goal, over or under it.

Both routes are equally long, so demonstrations have two modes: a policy that averages them drives into the block.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..data.episodes import Episodes
from .make import env_spec
from .mazes import forget_model_file

Array = NDArray[Any]

ENV_ID = "laminar/PointMaze-v0"
LAYOUT = [
    [1, 1, 1, 1, 1, 1, 1],
    [1, 0, 0, 0, 0, 0, 1],
    [1, "r", 1, 1, 1, "g", 1],
    [1, 0, 0, 0, 0, 0, 1],
    [1, 1, 1, 1, 1, 1, 1],
]  # cells of 1 m, 1: wall, r: start, g: goal; the middle of the maze is the origin, x right, y up
ROUTES = {"over": ((-2.0, 1.0), (2.0, 1.0)), "under": ((-2.0, -1.0), (2.0, -1.0))}  # corners (x, y) in meters
_SPEED = 2.5  # m/s, of the controller between two corners
_NOISE = 0.05  # standard deviation of the controller's action noise


class PointMaze(gymnasium.Wrapper[Any, Any, Any, Any]):
    """PointMaze of gymnasium-robotics with two routes, at 20 control steps a second.

    Observation (6,): position (m), velocity (m/s), goal (m), each x and y. Action (2,): force in [-1, 1], full scale
    accelerates with about 24 m/s². Reward 1 and the end within 0.45 m of the goal, else 0. Start and goal vary by
    0.2 m around their cells.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        """Make the maze."""
        from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv

        maze: Any = PointMazeEnv(maze_map=LAYOUT, continuing_task=False, render_mode=render_mode)
        super().__init__(maze)
        forget_model_file(maze)
        maze.position_noise_range = 0.2  # meters, around the centers of the start and the goal cell
        maze.point_env.frame_skip = 5  # of 0.01 s: nobody needs 100 decisions a second to drive around a block
        self.observation_space = spaces.Box(-np.inf, np.inf, (6,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start at rest on the left; the goal is on the right."""
        observation, info = self.env.reset(seed=seed)
        return _flat(observation), info

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Push for 0.05 s."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return _flat(observation), float(reward), terminated, truncated, info


def _flat(observation: dict[str, Array]) -> Array:
    return np.concatenate([observation["observation"], observation["desired_goal"]])


class WaypointController:
    """Drives along the corners of one route to the goal: proportional control of the velocity."""

    def __init__(self, route: str, random: np.random.Generator) -> None:
        """Follow "over" or "under", with action noise from `random`."""
        self.waypoints = [np.array(corner) for corner in ROUTES[route]]
        self.random = random

    def act(self, observation: Array) -> Array:
        """Return the action (2,) for an observation (6,)."""
        position, velocity, goal = observation[:2], observation[2:4], observation[4:]
        while self.waypoints and np.linalg.norm(self.waypoints[0] - position) < 0.4:
            self.waypoints.pop(0)
        ahead = (self.waypoints[0] if self.waypoints else goal) - position
        wanted = ahead * _SPEED / max(float(np.linalg.norm(ahead)), 0.5)
        action = 0.4 * (wanted - velocity) + _NOISE * self.random.standard_normal(2)
        return np.clip(action, -1.0, 1.0).astype(np.float32)


def collect(env: gymnasium.Env[Any, Any], episodes: int, seed: int) -> Episodes:
    """Record demonstrations of the waypoint controller, which tosses a coin for its route.

    Args:
        env: from ``make_env("laminar/PointMaze-v0")``.
        episodes: number of episodes.
        seed: episode i resets with seed + i; also the source of routes and action noise.
    """
    random = np.random.default_rng(seed)
    steps: dict[str, list[Any]] = {name: [] for name in ("observation", "action", "reward", "terminated", "truncated")}
    finals: list[Array] = []
    ends: list[int] = []
    success: list[bool] = []
    for episode in range(episodes):
        controller = WaypointController(str(random.choice(list(ROUTES))), random)
        observation, info = env.reset(seed=seed + episode)
        over = False
        while not over:
            action = controller.act(observation)
            following, reward, terminated, truncated, info = env.step(action)
            for name, value in zip(steps, (observation, action, reward, terminated, truncated), strict=True):
                steps[name].append(value)
            observation, over = following, terminated or truncated
        finals.append(observation)
        ends.append(len(steps["action"]))
        success.append(bool(info["success"]))
    return Episodes(
        observation={"observation": np.asarray(steps["observation"], np.float32)},
        final_observation={"observation": np.asarray(finals, np.float32)},
        action=np.asarray(steps["action"], np.float32),
        reward=np.asarray(steps["reward"], np.float32),
        terminated=np.asarray(steps["terminated"], bool),
        truncated=np.asarray(steps["truncated"], bool),
        ends=np.asarray(ends, np.int64),
        spec=env_spec(env),
        success=np.asarray(success, bool),
        source=ENV_ID,
    )
