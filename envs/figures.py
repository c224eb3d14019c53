"""What an environment measures of an episode beside return and success, for the record of an evaluation.

An environment that has such numbers has a function `episode_figures() -> dict[str, float]`, name -> number of the
episode so far, always the same names. One that has something to say of what a policy plans has a function
`planned_figures(planned) -> dict[str, float]` of the observations that are to come, key -> (T, ...).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import gymnasium

from ..errors import LaminarError


def episode_figures(env: gymnasium.Env[Any, Any], env_id: str) -> dict[str, float]:
    """Return the figures of the episode in an environment so far; none where it measures none.

    Raises:
        LaminarError: one is not a finite number.
    """
    told: Any = getattr(env.unwrapped, "episode_figures", None)
    return _checked(told() if callable(told) else {}, env_id)


def planned_figures(env: gymnasium.Env[Any, Any], env_id: str, planned: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a plan, the observations to come {key: (T, ...)}; none where an environment has none.

    Raises:
        LaminarError: one is not a finite number.
    """
    told = env.get_wrapper_attr("planned_figures") if env.has_wrapper_attr("planned_figures") else None
    return _checked(told(planned) if callable(told) else {}, env_id)


def _checked(told: Any, env_id: str) -> dict[str, float]:
    figures = cast(dict[str, Any], told)
    for name, value in figures.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise LaminarError(
                f"'{env_id}' says that '{name}' of an episode is {value!r}; it has to be a finite number"
            )
    return {name: float(value) for name, value in figures.items()}
