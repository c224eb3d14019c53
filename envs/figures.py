"""What an environment measures of an episode beside return and success, for the record of an evaluation.

An environment that has such numbers has a function `episode_figures() -> dict[str, float]`, name -> number of the
episode so far, always the same names.
"""

from __future__ import annotations

import math
from typing import Any, cast

import gymnasium

from ..errors import LaminarError


def episode_figures(env: gymnasium.Env[Any, Any], env_id: str) -> dict[str, float]:
    """Return the figures of the episode in an environment so far; none where it measures none.

    Raises:
        LaminarError: one is not a finite number.
    """
    told: Any = getattr(env.unwrapped, "episode_figures", None)
    figures = cast(dict[str, Any], told() if callable(told) else {})
    for name, value in figures.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise LaminarError(
                f"'{env_id}' says that '{name}' of an episode is {value!r}; it has to be a finite number"
            )
    return {name: float(value) for name, value in figures.items()}
