"""Environments made of ones that are conditioned on a goal, and are not so themselves."""

from __future__ import annotations

from typing import Any

import gymnasium

_OF_GOALS = frozenset({"compute_reward", "compute_terminated", "compute_truncated"})


class WithoutGoal(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment around one of gymnasium-robotics, which shows an array in place of goals.

    Stable-Baselines3 and others take whatever has a `compute_reward` inside for conditioned on goals, and want a Dict
    with them. So what is found inside is the simulator without its functions of goals.
    """

    @property
    def unwrapped(self) -> Any:
        """The simulator, but for its functions of goals."""
        return _Simulator(self.env.unwrapped)


class _Simulator:
    """Hands on everything to an environment but the functions of goals, which it does not have."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        vars(self)["inner"] = env

    def __getattr__(self, name: str) -> Any:
        if name in _OF_GOALS or name == "inner":  # the latter: a copy that is not complete yet
            raise AttributeError(f"the environment has no '{name}': it is not conditioned on a goal")
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)
