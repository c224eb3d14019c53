"""One factory for every environment; which suite makes it follows from the id."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

from .ids import split_id
from .rendering import choose_backend
from .spec import FlatKeys, control_rate, env_spec
from .suites import SUITES, suite_of

__all__ = ["control_rate", "env_spec", "make_env", "register", "split_id"]


def make_env(env_id: str, render: bool = False) -> gymnasium.Env[Any, Any]:
    """Make one environment from the id of any suite: gymnasium's, D4RL's, laminar's own, or a user's.

    Observations are a flat Box, or a Dict without nesting whose keys are those that recordings of the environment have.
    D4RL ids, and gymnasium ids of the Adroit hand, give the benchmark's observation and reward (see `suites.d4rl`).

    Args:
        env_id: for example "Hopper-v4", "door-human-v1", "laminar/Playroom-v0?scene=D"; see `split_id`.
        render: make environments without a MuJoCo model able to give pictures.

    Raises:
        LaminarError: unknown id or argument, an id that no installed package can run, or an unsupported space.
    """
    register()
    name, _ = split_id(env_id)
    env = suite_of(name).make(env_id, render)
    if isinstance(env.observation_space, spaces.Dict):
        env = FlatKeys(env)
    env_spec(env)  # an unsupported space is refused here, not in the middle of an evaluation
    return env


def register() -> None:
    """Register with gymnasium, once, what the suites want registered."""
    choose_backend()
    for name in SUITES.names():
        own = getattr(SUITES.module(name), "register", None)
        if own is not None:
            own()
