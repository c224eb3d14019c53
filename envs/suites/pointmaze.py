"""laminar's own first task: a point mass drives around a block to a goal, over or under it.

Both routes are equally long, so demonstrations have two modes: a policy that averages them drives into the block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ...data.episodes import Episodes
from ...data.spec import Spec
from ...progress import Finished, Watch, ignore
from ..creation import make_own, register_own, register_robotics
from ..routes import Route
from ..spec import env_spec
from ..without_goal import WithoutGoal

Array = NDArray[Any]

ENV_ID = "laminar/PointMaze-v0"
LAYOUT: list[list[Any]] = [
    [1, 1, 1, 1, 1, 1, 1],
    [1, 0, 0, 0, 0, 0, 1],
    [1, "r", 1, 1, 1, "g", 1],
    [1, 0, 0, 0, 0, 0, 1],
    [1, 1, 1, 1, 1, 1, 1],
]  # cells of 1 m, 1: wall, r: start, g: goal; the middle of the maze is the origin, x right, y up
ROUTES = {"over": ((-2.0, 1.0), (2.0, 1.0)), "under": ((-2.0, -1.0), (2.0, -1.0))}  # corners (x, y) in meters
_SPEED = 2.5  # m/s, of the controller
_AHEAD = 0.5  # m, between the robot and the point it aims at
_GAIN = 1.0  # action per m/s of missing velocity
_DISTURBANCE = 0.3  # standard deviation of what is added to the action that is executed


def ids() -> Iterable[str]:
    """Return the one id."""
    return [ENV_ID]


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make the maze."""
    return make_own(env_id, render)


def register() -> None:
    """Register the maze, with 80 steps an episode."""
    register_own(ENV_ID, "suites.pointmaze:PointMaze", max_steps=80)


class PointMaze(WithoutGoal):
    """PointMaze of gymnasium-robotics with two routes, at 20 control steps a second.

    Observation (6,): position (m), velocity (m/s), goal (m), each x and y. Action (2,): force in [-1, 1], full scale
    accelerates with about 10 m/s². Reward 1 and the end within 0.45 m of the goal, else 0. Start and goal vary by
    0.2 m around their cells.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        """Make the maze."""
        register_robotics()  # the way in which its import is quiet, and gets along without OpenGL
        from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv

        maze: Any = PointMazeEnv(maze_map=LAYOUT, continuing_task=False, render_mode=render_mode)
        super().__init__(maze)
        maze.position_noise_range = 0.2  # meters, around the centers of the start and the goal cell
        maze.point_env.frame_skip = 5  # of 0.01 s: nobody needs 100 decisions a second to drive around a block
        maze.model.actuator_gear[:, 0] = 40.0  # N, for 4.2 kg: weak enough that random actions rarely arrive
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
    """Follows one route: aims at a point on it a little ahead, and controls the velocity proportionally."""

    def __init__(self, route: str, observation: Array) -> None:
        """Follow "over" or "under" from the start to the goal in the first observation (6,)."""
        self.route = Route(np.array([observation[:2], *ROUTES[route], observation[4:]]), _AHEAD)

    def act(self, observation: Array) -> Array:
        """Return the action (2,) for an observation (6,)."""
        position, velocity = observation[:2], observation[2:4]
        wanted = (self.route.aim(position) - position) * _SPEED / _AHEAD
        return np.clip(_GAIN * (wanted - velocity), -1.0, 1.0).astype(np.float32)


def collect(env: gymnasium.Env[Any, Any], episodes: int, seed: int, watch: Watch = ignore) -> Episodes:
    """Record demonstrations of the waypoint controller, which tosses a coin for its route.

    The executed actions are disturbed, the recorded ones are not, so that the demonstrations show how to recover
    (DART, Laskey et al. 2017); what was executed is in `infos["executed_action"]`.

    Args:
        env: from ``make_env("laminar/PointMaze-v0")``.
        episodes: number of episodes.
        seed: episode i resets with seed + i; also the source of routes and disturbances.
        watch: is told of each episode that is complete.
    """
    random = np.random.default_rng(seed)
    columns = ("observation", "action", "executed_action", "reward", "terminated", "truncated")
    steps: dict[str, list[Any]] = {name: [] for name in columns}
    finals: list[Array] = []
    ends: list[int] = []
    success: list[bool] = []
    try:
        for episode in range(episodes):
            rows, final, succeeded = _drive(env, seed + episode, random)
            for name, column in zip(columns, zip(*rows, strict=True), strict=True):
                steps[name] += column
            finals.append(final)
            success.append(succeeded)
            ends.append(len(steps["action"]))
            watch(Finished({"success": float(succeeded)}))
    except KeyboardInterrupt:
        if not ends:
            raise
    done = len(ends)
    steps = {name: column[: ends[-1]] for name, column in steps.items()}
    return _episodes(steps, finals[:done], ends, success[:done], env_spec(env))


def _drive(
    env: gymnasium.Env[Any, Any], seed: int, random: np.random.Generator
) -> tuple[list[tuple[Any, ...]], Array, bool]:
    """Drive one episode; return its rows, the last observation, and whether it succeeded."""
    observation, info = env.reset(seed=seed)
    controller = WaypointController(str(random.choice(list(ROUTES))), observation)
    rows: list[tuple[Any, ...]] = []
    over = False
    while not over:
        action = controller.act(observation)
        executed = np.clip(action + _DISTURBANCE * random.standard_normal(2), -1.0, 1.0)
        following, reward, terminated, truncated, info = env.step(executed)
        rows.append((observation, action, executed, reward, terminated, truncated))
        observation, over = following, terminated or truncated
    return rows, observation, bool(info["success"])


def _episodes(
    steps: dict[str, list[Any]], finals: list[Array], ends: list[int], success: list[bool], spec: Spec
) -> Episodes:
    return Episodes(
        observation={"observation": np.asarray(steps["observation"], np.float32)},
        final_observation={"observation": np.asarray(finals, np.float32)},
        action=np.asarray(steps["action"], np.float32),
        reward=np.asarray(steps["reward"], np.float32),
        terminated=np.asarray(steps["terminated"], bool),
        truncated=np.asarray(steps["truncated"], bool),
        ends=np.asarray(ends, np.int64),
        spec=spec,
        success=np.asarray(success, bool),
        infos={"executed_action": np.asarray(steps["executed_action"], np.float32)},
        source=ENV_ID,
    )
