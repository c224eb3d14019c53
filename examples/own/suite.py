"""A suite of one's own: one environment, a point that is to reach a goal, and a controller to record.

python examples/own/suite.py collect env.id=own/Reach-v0 episodes=100 out=reach.hdf5
python examples/own/suite.py train policy=flow data.path=reach.hdf5 env.id=own/Reach-v0 out=runs/reach
python examples/own/suite.py eval policy.path=runs/reach env.id='own/Reach-v0?radius=0.02' processes=2
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

import laminar
from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.envs.creation import make_own
from laminar.envs.spec import env_spec

Array = NDArray[Any]
ENV_ID = "own/Reach-v0"
SPEED = 1.0  # m/s of a full action


class Reach(gymnasium.Env[Any, Any]):
    """Observation (4,): position and goal (m), x and y in [-1, 1]. Action (2,): velocity in [-1, 1] of full speed.

    Reward 1 and the end within `radius` of the goal, else 0.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    dt = 0.1  # seconds a step; the control rate of the Spec follows from it
    action_unit = "m/s"

    def __init__(self, radius: float = 0.1, render_mode: str | None = None) -> None:
        self.radius, self.render_mode = radius, render_mode
        self.observation_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin anywhere, all of it decided by the seed."""
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(-1.0, 1.0, (2, 2))
        return self._observation(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Move for `dt`; `info["success"]` is what evaluation counts."""
        self.position = np.clip(self.position + SPEED * self.dt * np.clip(action, -1.0, 1.0), -1.0, 1.0)
        reached = bool(np.linalg.norm(self.goal - self.position) <= self.radius)
        return self._observation(), float(reached), reached, False, {"success": reached}

    def render(self) -> Array:
        """(96, 96, 3) uint8: the goal green, the point red."""
        picture = np.full((96, 96, 3), 255, np.uint8)
        for place, color in ((self.goal, (40, 160, 60)), (self.position, (200, 40, 40))):
            column, row = (48 + 44 * place * (1, -1)).astype(int)
            picture[row - 3 : row + 4, column - 3 : column + 4] = color
        return picture

    def _observation(self) -> Array:
        return np.concatenate([self.position, self.goal]).astype(np.float32)


def ids() -> Iterable[str]:
    """Return the ids that this suite makes, without arguments."""
    return [ENV_ID]


def register() -> None:
    """Register with gymnasium, once, which adds the time limit."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(ENV_ID, f"{__name__}:Reach", max_episode_steps=60)


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make it with the arguments in the id, whose names and types are checked."""
    return make_own(env_id, render)


def controller(observation: Array, random: np.random.Generator) -> Array:
    """Return an action (2,): straight towards the goal, slower near it, with an unsteady hand."""
    towards = (observation[2:] - observation[:2]) / (SPEED * Reach.dt)
    return np.clip(towards / max(1.0, float(np.linalg.norm(towards))) + 0.1 * random.standard_normal(2), -1.0, 1.0)


def collect(env: gymnasium.Env[Any, Any], episodes: int, seed: int) -> Episodes:
    """Record the controller; episode i resets with seed + i."""
    random = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    last: list[tuple[Array, int, bool]] = []
    for episode in range(episodes):
        observation, info = env.reset(seed=seed + episode)
        over = False
        while not over:
            action = controller(observation, random)
            following, reward, terminated, truncated, info = env.step(action)
            rows.append((observation, action, reward, terminated, truncated))
            observation, over = following, terminated or truncated
        last.append((observation, len(rows), info["success"]))
    seen, action, reward, terminated, truncated = (np.array(column) for column in zip(*rows, strict=True))
    final, ends, success = (np.array(column) for column in zip(*last, strict=True))
    numbers = (action.astype(np.float32), reward.astype(np.float32), terminated, truncated, ends)
    return Episodes({"observation": seen}, {"observation": final}, *numbers, env_spec(env), success, source=ENV_ID)


if __name__ == "__main__":
    laminar.register("suite", sys.modules[__name__])
    sys.exit(main(sys.argv[1:]))
