"""What an environment shows only when it is asked, because a policy was trained with it.

D4RL's mazes hold back their goal, which their recordings have beside the observation. An environment that can show
more than it does has two members: `on_request`, key -> space, and `requested()`, key -> array of this moment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import gymnasium
from gymnasium import spaces


class Showing(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that shows more: a dictionary, of what it shows by itself and of what it was asked for."""

    def __init__(self, env: gymnasium.Env[Any, Any], keys: Iterable[str]) -> None:
        """Ask an environment for some of what it has on request."""
        super().__init__(env)
        self._keys = list(keys)
        offered = env.get_wrapper_attr("on_request")
        self.observation_space = spaces.Dict(
            _keyed(env.observation_space, spaces.Dict) | {key: offered[key] for key in self._keys}
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._shown(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Advance one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._shown(observation), reward, terminated, truncated, info

    def begin(self, task: str, *told: Any, **more: Any) -> dict[str, Any]:
        """Begin a task of a room, see `Room.begin`."""
        return self._shown(self.env.get_wrapper_attr("begin")(task, *told, **more))

    def _shown(self, observation: Any) -> dict[str, Any]:
        more = self.env.get_wrapper_attr("requested")()
        return _keyed(observation, dict) | {key: more[key] for key in self._keys}


def _keyed(observation: Any, kind: type[Any]) -> dict[str, Any]:
    """Return an observation, or its space, by keys; what stands alone has the key that recordings give it."""
    return dict(observation) if isinstance(observation, kind) else {"observation": observation}


def showing(env: gymnasium.Env[Any, Any], wanted: Collection[str]) -> gymnasium.Env[Any, Any]:
    """Return an environment that shows what is wanted of it and offered on request: itself where that is nothing."""
    offered = env.get_wrapper_attr("on_request") if env.has_wrapper_attr("on_request") else ()
    space = env.observation_space
    shown = list(space) if isinstance(space, spaces.Dict) else ["observation"]
    asked = [key for key in offered if key in wanted and key not in shown]
    return Showing(env, asked) if asked else env
