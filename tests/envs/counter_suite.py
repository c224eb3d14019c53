"""A user's own suite in one file outside the package: `SUITES.register(module)`.

Its one environment counts. Action (1,): what is added. Reward: the action. It ends where its arguments say, and
misbehaves where they say; the options of a reset change them for one episode.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from laminar.data.episodes import Episodes
from laminar.envs.ids import split_id
from laminar.envs.spec import env_spec
from laminar.errors import LaminarError

ENV_ID = "user/Count-v0"


class Count(gymnasium.Env[Any, Any]):
    """Observation (3,) in float64: steps, sum of actions, noise. `terminal` ends it, `limit` cuts it off.

    `goal` is a sum of actions that ends it with success.
    """

    def __init__(
        self,
        terminal: int | None = None,
        limit: int | None = None,
        success: int | None = None,
        trouble: str = "",
        at: int = 3,
        picture: bool = False,
        goal: float | None = None,
        pixels: int = 2,
        width: int = 1,
    ) -> None:
        self.terminal, self.limit, self.success, self.trouble, self.at = terminal, limit, success, trouble, at
        self.picture, self.goal, self.pixels = picture, goal, pixels
        self.usual = dict(vars(self))
        flat = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        pictures = spaces.Box(0, 255, (pixels, pixels, 3), np.uint8)
        self.observation_space = spaces.Dict({"state": flat, "rgb": pictures}) if picture else flat
        self.action_space = spaces.Box(-1.0, 1.0, (width,), np.float32)
        self.dt = 0.1
        self.steps, self.sum = 0, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        vars(self).update(self.usual | {"steps": 0, "sum": 0.0} | (options or {}))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.sum += float(action[0])
        if self.steps == self.at:
            self._trouble()
        reached = self.goal is not None and self.sum >= self.goal
        told = self.goal is not None or self.success is not None
        info = {"success": reached or self.steps == self.success} if told else {}
        terminated = reached or self.steps == self.terminal
        reward = np.nan if self.trouble == "no reward" and self.steps == self.at else float(action[0])
        return self._observation(), reward, terminated, self.steps == self.limit, info

    def _trouble(self) -> None:
        if self.trouble == "error":
            raise ValueError("the counter\nbroke")
        if self.trouble == "refusal":
            raise LaminarError("the counter refuses")
        if self.trouble == "death":
            os._exit(7)

    def _observation(self) -> Any:
        noise = os.getpid() if self.trouble == "chance" and self.steps else self.np_random.random()
        state = np.array([self.steps, self.sum, noise])
        return (
            {"state": state, "rgb": np.full((self.pixels, self.pixels, 3), self.steps, np.uint8)}
            if self.picture
            else state
        )


def ids() -> Iterable[str]:
    return [ENV_ID]


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    return Count(**split_id(env_id)[1])


def collect(env: gymnasium.Env[Any, Any], episodes: int, seed: int) -> Episodes:
    """Add a half, ten times an episode."""
    rows = np.concatenate(
        [[env.reset(seed=seed + episode)[0]] + [env.step([0.5])[0] for _ in range(10)] for episode in range(episodes)]
    ).reshape(episodes, 11, 3)
    last = np.arange(1, 10 * episodes + 1) % 10 == 0
    return Episodes(
        observation={"observation": rows[:, :-1].reshape(-1, 3).astype(np.float32)},
        final_observation={"observation": rows[:, -1].astype(np.float32)},
        action=np.full((10 * episodes, 1), 0.5, np.float32),
        reward=np.full(10 * episodes, 0.5, np.float32),
        terminated=last,
        truncated=np.zeros_like(last),
        ends=np.arange(10, 10 * episodes + 1, 10),
        spec=env_spec(env),
        success=np.ones(episodes, bool),
        source=ENV_ID,
    )
