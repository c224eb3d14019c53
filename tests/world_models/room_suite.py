"""A user's own suite in one file outside the package: a point in a room with a lamp, which all tests here are about.

Seen: where the point is, x and y, and whether the lamp is lit. Done: where it goes. The lamp goes on where x is above
0.7, and off where it is below -0.7. Success is a lamp that is lit, and ends an episode.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from laminar.data.episodes import Episodes
from laminar.envs.spec import env_spec

ENV_ID = "user/Room-v0"
STRIDE, TOUCH, LIMIT = 0.1, 0.7, 30


class Room(gymnasium.Env[Any, Any]):
    """Observation (3,): x, y, lamp."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.dt = 0.1
        self.state, self.steps = np.zeros(3, np.float32), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        place = self.np_random.uniform((-0.6, -0.9), (0.1, 0.9))
        self.state, self.steps = np.array([*place, 0], np.float32), 0
        return self.state.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.state, self.steps = moved(self.state, action), self.steps + 1
        lit = bool(self.state[2])
        return self.state.copy(), float(lit), lit, self.steps >= LIMIT, {"success": lit}


def moved(state: Any, action: Any) -> Any:
    """Return what a step leads to."""
    place = np.clip(state[:2] + STRIDE * np.asarray(action), -1, 1)
    lamp = 1.0 if place[0] > TOUCH else 0.0 if place[0] < -TOUCH else state[2]
    return np.array([*place, lamp], np.float32)


def ids() -> Iterable[str]:
    return [ENV_ID]


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    return Room()


def play(episodes: int = 24, steps: int = 75, seed: int = 0) -> Episodes:
    """Go somewhere, then somewhere else, for so many steps; nothing tells what was a success."""
    rng = np.random.default_rng(seed)
    rows: list[Any] = []
    for _ in range(episodes):
        state, goal, path = np.array([*rng.uniform(-0.9, 0.9, 2), 0], np.float32), np.zeros(2), []
        for step in range(steps):
            goal = rng.uniform(-1, 1, 2) if step % 12 == 0 else goal
            action = np.clip((goal - state[:2]) / 0.3 + rng.normal(0, 0.1, 2), -1, 1).astype(np.float32)
            path.append((state, action))
            state = moved(state, action)
        rows.append((path, state))
    return _episodes(rows, success=None)


def demonstrations(episodes: int = 20, seed: int = 1) -> Episodes:
    """Go to the lamp and light it."""
    rng, env, rows = np.random.default_rng(seed), Room(), []
    for number in range(episodes):
        state, path, lit = env.reset(seed=seed * 1000 + number)[0], [], False
        while not lit:
            action = np.clip(rng.normal((0.7, 0.0), 0.2), -1, 1).astype(np.float32)
            path.append((state, action))
            state, _, lit, *_ = env.step(action)
        rows.append((path, state))
    return _episodes(rows, success=np.ones(episodes, bool))


def collect(env: gymnasium.Env[Any, Any], episodes: int, seed: int) -> Episodes:
    """Light the lamp."""
    return demonstrations(episodes, seed)


def _episodes(rows: list[Any], success: Any) -> Episodes:
    lengths = [len(path) for path, _ in rows]
    ends = np.cumsum(lengths)
    last = np.isin(np.arange(ends[-1]), ends - 1)
    told = success is not None
    return Episodes(
        observation={"observation": np.array([state for path, _ in rows for state, _ in path])},
        final_observation={"observation": np.array([state for _, state in rows])},
        action=np.array([action for path, _ in rows for _, action in path]),
        reward=(last & told).astype(np.float32),
        terminated=last & told,
        truncated=last & (not told),
        ends=ends,
        spec=env_spec(Room()),
        success=success,
        has_reward=False,
        source="room",
    )
