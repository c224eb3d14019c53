"""What a seed means in an environment: a few resets, before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ...envs.guard import begin
from ..results.findings import Starts

_TRIED = 8  # seeds, before starts are said to be equal: one of few possible starts may come twice by chance

Start = dict[str, list[NDArray[Any]]]


def check_starts(env: gymnasium.Env[Any, Any], env_id: str, seeds: Sequence[int]) -> Starts:
    """Reset twice with one seed, then with others until one starts otherwise, and say what the seed decides.

    Only what the environment shows is compared, every key to the last bit, also what no policy can see.

    Args:
        env: from `make_env`; its episode, if one runs, is lost.
        env_id: for messages.
        seeds: of the evaluation; where these are few, others are tried as well.

    Raises:
        LaminarError: the environment cannot be reset with a seed.
    """
    first, *others = list(dict.fromkeys([*seeds[:_TRIED], *range(_TRIED)]))[:_TRIED]
    start, again = _start(env, env_id, first), _start(env, env_id, first)
    unlike = {key: _gap(start.get(key, []), again.get(key, [])) for key in _unlike(start, again)}
    if unlike:
        return Starts(False, None, (first,), unlike)
    tried = [first]
    for seed in others:
        tried.append(seed)
        if _unlike(start, _start(env, env_id, seed)):
            return Starts(True, True, tuple(tried))
    return Starts(True, False, tuple(tried))


def _start(env: gymnasium.Env[Any, Any], env_id: str, seed: int) -> Start:
    shown = begin(env, env_id, seed)
    named = shown if isinstance(shown, Mapping) else {"observation": shown}
    return {key: list(_leaves(value)) for key, value in named.items()}


def _leaves(value: Any) -> Iterator[NDArray[Any]]:
    """Yield the arrays, numbers and texts of an observation of any space, sequences and graphs too, as copies.

    Objects that cannot be compared, for which Python would compare addresses, are left out.
    """
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value, key=str)]
    if isinstance(value, tuple | list):
        for one in value:
            yield from _leaves(one)
    else:
        found = np.array(value)  # a copy: the environment may write into it again
        if found.dtype.kind != "O":
            yield found


def _unlike(one: Start, two: Start) -> list[str]:
    return [key for key in {**one, **two} if not _equal(one.get(key), two.get(key))]


def _equal(one: list[NDArray[Any]] | None, two: list[NDArray[Any]] | None) -> bool:
    if one is None or two is None or len(one) != len(two):
        return False
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(one, two, strict=True))


def _gap(one: list[NDArray[Any]], two: list[NDArray[Any]]) -> float:
    """Return the largest difference; infinity where there is none to speak of, as between texts."""
    numbers = all(a.dtype.kind in "biuf" for a in one + two)
    if not numbers or [a.shape for a in one] != [b.shape for b in two]:
        return float("inf")
    gaps = [np.abs(a.astype(np.float64) - b.astype(np.float64)) for a, b in zip(one, two, strict=True)]
    return float(np.nanmax(np.concatenate([gap.ravel() for gap in gaps])))
