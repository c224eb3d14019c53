"""Rewards as training sees them; published results come with tunings of their own. Evaluation counts raw rewards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....data.episodes import Episodes
from ....errors import LaminarError, nearest

Array = NDArray[Any]


def tune(name: str, episodes: Episodes) -> Array:
    """Return (N,) float32 rewards of a named tuning; see `TUNINGS` for the formulas.

    Raises:
        LaminarError: an unknown name, no rewards in the file, or a scale that the data do not give.
    """
    if name not in TUNINGS:
        raise LaminarError(f"method.reward is '{name}' (known: {', '.join(TUNINGS)}){nearest(name, TUNINGS)}")
    if not episodes.has_reward:
        raise LaminarError(
            f"{episodes.source}: the file has no rewards, and offline improvement learns from nothing else; "
            "add them to the file, or clone it with method=bc"
        )
    with np.errstate(over="ignore"):  # `check_offline` names the step
        return TUNINGS[name](episodes).astype(np.float32)


def none(episodes: Episodes) -> Array:
    """R: DQL and OFQL on locomotion and Kitchen, FQL beyond AntMaze."""
    return episodes.reward


def antmaze_minus_one(episodes: Episodes) -> Array:
    """R - 1, so that every step before the goal costs: IQL (Kostrikov et al. 2022), CORL and FQL on AntMaze."""
    return episodes.reward - 1.0


def cql_antmaze(episodes: Episodes) -> Array:
    """4 (r - 0.5): CQL (Kumar et al. 2020), DQL and OFQL on AntMaze."""
    return 4.0 * (episodes.reward - 0.5)


def dql_antmaze(episodes: Episodes) -> Array:
    """2 (r - 0.25): the third choice of DQL's code for AntMaze ("antmaze" there), in none of its tables."""
    return 2.0 * (episodes.reward - 0.25)


def rebrac_antmaze(episodes: Episodes) -> Array:
    """100 r: ReBRAC (Tarasov et al. 2023) and CORL's version of it on AntMaze."""
    return 100.0 * episodes.reward


def iql_locomotion(episodes: Episodes) -> Array:
    """1000 r / (highest - lowest return of an episode): IQL and CORL on locomotion.

    Raises:
        LaminarError: all episodes have the same return.
    """
    returns = episodes.returns()
    if np.ptp(returns) == 0:
        raise LaminarError(
            f"{episodes.source}: method.reward=iql_locomotion divides by the range of the episodes' returns, but "
            f"{_all_alike(len(returns))} the return {returns[0]:g}; choose another tuning, such as none"
        )
    return episodes.reward * (1000.0 / np.ptp(returns))


def sparse(episodes: Episodes) -> Array:
    """-1, and 0 where the reward is 0: the neutral table (Li and Levine 2026) on OGBench's scene and puzzles.

    There the reward is minus the number of things that are not yet where they should be.
    """
    return (episodes.reward == 0) - 1.0


def normalize(episodes: Episodes) -> Array:
    """(r - mean) / standard deviation over all steps: DQL and OFQL on Adroit.

    Raises:
        LaminarError: the reward never changes.
    """
    reward = episodes.reward.astype(np.float64)
    if np.ptp(reward) == 0:
        raise LaminarError(
            f"{episodes.source}: method.reward=normalize divides by the deviation of the rewards, but all are "
            f"{reward[0]:g}; choose another tuning, such as none"
        )
    return (reward - reward.mean()) / reward.std()


TUNINGS: dict[str, Callable[[Episodes], Array]] = {
    tuning.__name__: tuning
    for tuning in (none, antmaze_minus_one, cql_antmaze, dql_antmaze, rebrac_antmaze, iql_locomotion, normalize, sparse)
}
"""Name -> tuning."""


def _all_alike(count: int) -> str:
    return f"all {count} have" if count > 1 else "there is one episode, with"
