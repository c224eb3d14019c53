"""What a seed means in an environment: a few resets, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..results.findings import Starts

_TRIED = 8  # seeds, at most: one of few possible starts may come twice by chance

Start = dict[str, NDArray[Any]]


def check_starts(env: gymnasium.Env[Any, Any], seeds: Sequence[int]) -> Starts:
    """Reset twice with one seed, then with others until one starts otherwise, and say what the seed decides.

    Only what the environment shows is compared, every key to the last bit.

    Args:
        env: from `make_env`; its episode, if one runs, is lost.
        seeds: of the evaluation.
    """
    first = seeds[0]
    start, again = _start(env, first), _start(env, first)
    unlike = {key: _gap(value, again[key]) for key, value in start.items() if not _equal(value, again[key])}
    if unlike:
        return Starts(False, None, (first,), unlike)
    others = list(seeds[1:_TRIED]) or [first + 1 if first == 0 else first - 1]
    tried = [first]
    for seed in others:
        tried.append(seed)
        other = _start(env, seed)
        if any(not _equal(value, other[key]) for key, value in start.items()):
            return Starts(True, True, tuple(tried))
    return Starts(True, False, tuple(tried))


def _start(env: gymnasium.Env[Any, Any], seed: int) -> Start:
    shown = env.reset(seed=seed)[0]
    named = shown if isinstance(shown, Mapping) else {"observation": shown}
    return {key: np.array(value) for key, value in named.items()}  # copies: it may write into them again


def _equal(one: NDArray[Any], two: NDArray[Any]) -> bool:
    return np.array_equal(one, two, equal_nan=one.dtype.kind == "f")


def _gap(one: NDArray[Any], two: NDArray[Any]) -> float:
    """Return the largest difference; infinity where there is none to speak of, as between texts."""
    if one.shape != two.shape or one.dtype.kind not in "biuf":
        return float("inf")
    return float(np.nanmax(np.abs(one.astype(np.float64) - two.astype(np.float64))))
