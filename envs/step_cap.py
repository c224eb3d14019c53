"""An end for environments that name none: an episode that never ended would be an evaluation that never does."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit

from ..errors import LaminarError
from .ids import extended
from .room import as_room

SETTING = "max_episode_steps"  # the argument of an id that sets a time limit, as in gymnasium.make
STEPS = 1000  # of an episode where nothing is known: what most benchmarks of locomotion have
# names under which environments keep a limit of their own
_OWN = ("max_steps", SETTING, f"_{SETTING}", "horizon", "max_path_length", "max_episode_length", "episode_length")


class StepCap(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Cuts an episode off after some control steps (truncated, not terminated).

    Attributes:
        steps: after so many.
        assumed: whether this number is laminar's; else a user asked for it.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], steps: int, assumed: bool = True) -> None:
        """Wrap an environment."""
        super().__init__(env)
        self.steps, self.assumed = steps, assumed
        self._done = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin to count."""
        self._done = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Advance one step, the last one if it is the `steps`-th."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._done += 1
        return observation, reward, terminated, truncated or self._done >= self.steps, info


def with_end(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Return an environment whose episodes end: itself, where gymnasium or a user limits its steps, else capped.

    Whether an environment without such a limit ends by itself cannot be known before it does. One that keeps a limit
    of its own under a usual name gets at least as many steps. Rooms are left alone: a chain of instructions has limits
    of its own, and an episode of a room that never ends is refused.
    """
    if as_room(env) is not None or _limit(env) is not None:
        return env
    own = [_whole(getattr(env.unwrapped, name, None)) for name in _OWN]
    return StepCap(env, max([STEPS, *(steps + 1 for steps in own if steps is not None)]))


def assumed_cap(env: gymnasium.Env[Any, Any]) -> int | None:
    """Return after how many steps laminar cuts episodes off, as the environment names no limit; None where it does."""
    cap = _limit(env)
    return cap.steps if isinstance(cap, StepCap) and cap.assumed else None


def cap_remark(env_id: str, cap: int, episodes: int | None = None, cut: int | None = None) -> str:
    """Say that episodes are cut off, or that so many of some were, and how to choose the limit."""
    what = "its episodes are stopped, at the latest," if cut is None else f"{cut} of {episodes} episodes were stopped"
    limited = extended(env_id, {SETTING: "N"})
    return f"'{env_id}' names no time limit: {what} after {cap} steps; choose with env.id='{limited}'"


def check_limit(env_id: str, steps: Any) -> None:
    """Raise LaminarError for a time limit in an id that is no number of steps."""
    if type(steps) is not int or steps < 1:
        raise LaminarError(f"{SETTING} in environment '{env_id}' must be a whole number, at least 1, got {steps}")


def _whole(steps: Any) -> int | None:
    """Return a number of steps of any type (1500, 1500.0, np.int64(1500)); None for anything else."""
    number = isinstance(steps, int | float | np.integer | np.floating) and not isinstance(steps, bool)
    return int(steps) if number and float(steps).is_integer() else None


def _limit(env: Any) -> TimeLimit[Any, Any] | StepCap | None:
    """Return the wrapper that limits the steps of an episode."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TimeLimit | StepCap):
            return env
        env = env.env
    return None
