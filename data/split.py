"""Episodes that a run holds out: the same ones for every seed of training, and after a resume.

The split depends on the share and on the episodes' number alone. It is by whole episode, since steps of one episode are
much alike; episodes that share steps, such as annotated windows of play that overlap, stay together on one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import LaminarError
from .episodes import Array, Episodes

SEED = 0  # of the order in which episodes are held out; no setting, so that runs of other seeds hold out the same


def held_out(episodes: Episodes, share: float) -> list[int]:
    """Return which episodes to hold out, ascending: about that share of them, at least one, and never all.

    Args:
        episodes: all of a run.
        share: between 0 and 1; 0 holds out none.

    Raises:
        LaminarError: they cannot be divided in two.
    """
    if share == 0:
        return []
    group = np.arange(episodes.num_episodes) if episodes.group is None else episodes.group
    names, sizes = np.unique(group, return_counts=True)
    if len(names) < 2:
        what = "one episode" if len(group) == 1 else f"{len(group)} episodes that all share steps"
        raise LaminarError(
            f"{episodes.source}: data.validation={share:g} holds out whole episodes, and {what} cannot be divided; "
            "give data with several, or data.validation=0"
        )
    order = np.random.default_rng(SEED).permutation(len(names))
    chosen = _filled(order, sizes, round(share * len(group)))
    return np.flatnonzero(np.isin(group, names[chosen])).tolist()


def _filled(order: Array, sizes: Array, wanted: int) -> list[int]:
    """Return groups in their order until `wanted` episodes are in them, without those that would be too many."""
    chosen: list[int] = []
    for one in order[:-1]:  # the last one is trained on in any case
        if sizes[one] <= wanted - sizes[chosen].sum():
            chosen.append(int(one))
    return chosen or [int(order[np.argmin(sizes[order])])]


def split(episodes: Episodes, out: Sequence[int]) -> tuple[Episodes, Episodes]:
    """Return the episodes to learn from, and those that are held out, given by their numbers; both at least one."""
    kept = np.setdiff1d(np.arange(episodes.num_episodes), out)
    # Messages about a part count its own episodes.
    named = f"{episodes.source} ({len(kept)} of {episodes.num_episodes} episodes, the others are held out)"
    return replace(episodes.select(kept), source=named), episodes.select(out)


def overlapping(first: Array, end: Array) -> Array:
    """Return (E,) a number for each span of frames; those that overlap, maybe by way of others, have the same.

    Args:
        first: (E,) of each.
        end: (E,) the frame after its last.
    """
    order = np.argsort(first, kind="stable")
    reach = np.maximum.accumulate(end[order])
    begins = np.concatenate([[False], first[order][1:] >= reach[:-1]])
    group = np.empty(len(first), np.int64)
    group[order] = np.cumsum(begins)
    return group
