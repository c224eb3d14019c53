"""D4RL's point mazes for policies that see where they are to go: `laminar/Maze2d-v0?maze=medium&goals=many`.

Physics, frame, starts, rewards and time limits are those of D4RL's ids (`laminar.envs.mazes`); the goal is shown beside
the state. goals=one is D4RL's task with its fixed goal, goals=many draws another one for each episode, as the
multi-task evaluation of Diffuser does (Janner et al. 2022, arXiv:2205.09991).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium

from ...data.episodes import Episodes
from ...errors import LaminarError, nearest
from ...progress import Watch, ignore
from ..creation import make_own, register_own, register_robotics
from ..d4rl import MAZE2D_ID, MAZES, maze2d_task
from ..ids import split_id
from ..maze_trips import record
from ..mazes import Maze2D
from ..on_request import Showing
from ..step_cap import SETTING

GOALS = ("one", "many")


def ids() -> Iterable[str]:
    """Return the one id."""
    return [MAZE2D_ID]


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make a maze, with D4RL's time limit unless the id names another."""
    _, arguments = split_id(env_id)
    maze = arguments.get("maze", "umaze")
    if maze in MAZES and SETTING not in arguments:
        env_id = f"{env_id}{'&' if arguments else '?'}{SETTING}={maze2d_task(maze).max_steps}"
    return make_own(env_id, render)


def register() -> None:
    """Register the mazes; the time limit of the default one, as gymnasium knows only one an id."""
    register_own(MAZE2D_ID, "suites.maze2d:Maze2dWithGoal", max_steps=300)


def collect(env: gymnasium.Env[Any, Any], episodes: int, seed: int, watch: Watch = ignore) -> Episodes:
    """Record trips from goal to goal, see `laminar.envs.maze_trips`."""
    return record(env, episodes, seed, watch)


class Maze2dWithGoal(Showing):
    """A point mass in a maze that shows its goal: {"observation": (4,), "goal": (2,)}.

    "observation" is D4RL's: place along the rows and the columns (m), and velocity (m/s). "goal" is a place in the same
    frame. Action (2,): force along rows and columns, in [-1, 1]. Reward 1 within 0.5 m of the goal, which is success,
    else 0; never terminated. `reset` takes the options "start" (4,) and "goal" (2,).

    Attributes:
        goals: "one" or "many".
    """

    def __init__(self, maze: str = "umaze", goals: str = "one", render_mode: str | None = None) -> None:
        """Make a maze.

        Args:
            maze: open, umaze, medium or large.
            goals: one, D4RL's, or many, another one for each episode.
            render_mode: of gymnasium.

        Raises:
            LaminarError: no such maze, or no such goals.
        """
        for name, value, known in (("maze", maze, MAZES), ("goals", goals, GOALS)):
            if value not in known:
                raise LaminarError(
                    f"argument '{name}' of environment '{MAZE2D_ID}' is '{value}' (known: {', '.join(known)})"
                    f"{nearest(value, known)}"
                )
        register_robotics()  # the way in which its import is quiet, and gets along without OpenGL
        from gymnasium_robotics.envs.maze import maps
        from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv

        layouts: dict[str, Any] = {
            "open": maps.OPEN,
            "umaze": maps.U_MAZE,
            "medium": maps.MEDIUM_MAZE,
            "large": maps.LARGE_MAZE,
        }
        inner: Any = PointMazeEnv(maze_map=layouts[maze], render_mode=render_mode)
        inside = Maze2D(inner, maze2d_task(maze), many=goals == "many")
        super().__init__(inside, ["goal"])
        self.goals = goals
