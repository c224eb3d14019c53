"""PushT of gym-pusht, with what laminar asks of an environment: control rate, units, and the coverage it reached.

A pusher moves a T onto its place (Chi et al. 2023, arXiv:2303.04137). Published scores are the mean over episodes of
the largest reward, which is coverage / 0.95, at most 1.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..data.block_frame import REACH, SEEN, TABLE, seen_from_block, target_of
from .packages import named

Array = NDArray[Any]


class PushT(gymnasium.Wrapper[Any, Any, Any, Any]):
    """`gym_pusht/PushT-v0` at 10 control steps a second; actions are positions (px) that the pusher is drawn to.

    Attributes:
        dt: seconds a control step. The environment's own `dt` is that of its physics, a tenth of it.
        action_unit, action_names: of the two numbers of an action.
        simulator_name: what moved the T.
    """

    dt = 0.1
    action_unit = "px"
    action_names = ("x", "y")

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap an environment from `gymnasium.make`."""
        super().__init__(env)
        self.simulator_name = named("gym-pusht", "pymunk")
        self._inner: Any = env.unwrapped
        self._coverage: list[float] = []

    @property
    def unwrapped(self) -> Any:
        """This environment: what is inside tells another control rate."""
        return self

    @property
    def _np_random(self) -> Any:
        """The generator inside: gymnasium's checker looks for it in what is unwrapped."""
        return self._inner._np_random

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._coverage = []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Push for 0.1 s. Reward: coverage / 0.95, at most 1; more than 0.95 ends the episode with success."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._coverage.append(float(info["coverage"]))
        success = bool(info["is_success"])
        return observation, float(reward), bool(terminated), truncated, info | {"success": success}

    def episode_figures(self) -> dict[str, float]:
        """Return the largest and the last share of the target that the T covered; none before the first step."""
        if not self._coverage:
            return {}
        return {"max coverage": max(self._coverage), "final coverage": self._coverage[-1]}

    def picture(self, state: Array) -> NDArray[np.uint8]:
        """Draw a state (5,), as it is observed: pusher x, y, block x, y (px) and angle (rad); (96, 96, 3).

        The environment's own option `reset_to_state` leads elsewhere: it turns the block after it has placed it, around
        another point, and lets physics run.
        """
        self._inner.agent.position = state[:2].tolist()
        self._inner.block.angle = float(state[4])
        self._inner.block.position = state[2:4].tolist()
        for body in (self._inner.agent, self._inner.block):  # what is drawn is where shapes were last seen to be
            self._inner.space.reindex_shapes_for_body(body)
        return np.asarray(self._inner._render(), np.uint8)


class InBlockFrame(gymnasium.Wrapper[Any, Any, Any, Any]):
    """PushT of which all that is seen and done is in the frame of the block, see `laminar.data.block_frame`.

    Observation (6,): pusher x, y and goal x, y (px), cosine and sine of the goal's angle. Action (2,): how far from the
    pusher the position is that it is drawn to (px), along the axes of the block where it lies now.
    """

    def __init__(self, env: PushT) -> None:
        """Wrap an environment that shows states (5,)."""
        super().__init__(env)
        far = np.array([2 * TABLE] * 4 + [1.0, 1.0])
        self.observation_space = spaces.Box(-far, far, (len(SEEN),), np.float64)
        self.action_space = spaces.Box(-REACH, REACH, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._state, info = self.env.reset(seed=seed, options=options)
        return seen_from_block(self._state), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Draw the pusher to where the command leads, as far as that is on the table."""
        target = target_of(np.asarray(action, np.float64), self._state)
        self._state, reward, terminated, truncated, info = self.env.step(target)
        return seen_from_block(self._state), reward, terminated, truncated, info
