"""What is there twice: whole episodes, rows of zeros that pad them, and pictures of a camera that is slow or stuck."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..episodes import Episodes
from ..on_disk import is_on_disk
from .frames import cameras, is_number

Array = NDArray[Any]
_PAIRS = 200  # of successive pictures, evenly spread, that are compared
_EPISODES = 100  # evenly spread ones in which three pictures are compared
_SLOW = 0.05  # share of equal pictures that is worth a sentence
_STEPS = 50_000  # evenly spread ones, at least, that tell the median
_MOVES = 0.25  # of the median step of a state: what counts as motion


@dataclass(frozen=True)
class Repeated:
    """Pictures of one camera that are equal to the one before, although the robot moves.

    Attributes:
        compared: successive pictures.
        equal: of them.
        stuck: episodes that show one picture throughout.
    """

    compared: int = 0
    equal: int = 0
    stuck: list[int] = field(default_factory=list[int])


def copies(episodes: Episodes) -> dict[int, int]:
    """Return episode -> the earlier one that it repeats; all rows are compared only where the first ones are alike."""
    arrays = [episodes.action, *(value for value in episodes.observation.values() if not is_on_disk(value))]
    alike: dict[bytes, list[int]] = {}
    for episode, (start, length) in enumerate(zip(episodes.starts, episodes.lengths, strict=True)):
        begin = b"".join([length.tobytes(), *(value[start].tobytes() for value in arrays)])
        alike.setdefault(begin, []).append(episode)
    found: dict[int, int] = {}
    for group in alike.values():
        seen: dict[bytes, int] = {}
        for episode in group if group[1:] else []:
            rows = slice(int(episodes.starts[episode]), int(episodes.ends[episode]))
            digest = hashlib.blake2b(b"".join(np.ascontiguousarray(value[rows]).tobytes() for value in arrays))
            first = seen.setdefault(digest.digest(), episode)
            if first != episode:
                found[episode] = first
    return dict(sorted(found.items()))


def ending_in_zeros(episodes: Episodes) -> Array:
    """Return the episodes whose last two rows are zero, but not the first one."""
    last = episodes.ends - 1
    states = [value for value in episodes.observation.values() if not is_on_disk(value)]

    def zero(rows: Array) -> Array:
        values = [value[rows].reshape(len(rows), -1) for value in (*states, episodes.action)]
        return np.logical_and.reduce([~value.any(axis=1) for value in values])

    return np.flatnonzero((episodes.lengths > 2) & zero(last) & zero(np.maximum(last - 1, 0)) & ~zero(episodes.starts))


def repeated_pictures(episodes: Episodes) -> dict[str, Repeated]:
    """Compare some pictures of each camera, where states, or else actions, move; few are read of those on disk."""
    keys = cameras(episodes)
    if not keys:
        return {}
    moving = np.flatnonzero(_moving(episodes))
    pairs = moving[:: max(1, -(-len(moving) // _PAIRS))]
    owners = episodes.episode_index[moving]
    lively = np.flatnonzero(np.bincount(owners, minlength=episodes.num_episodes) >= 3)
    some = lively[:: max(1, -(-len(lively) // _EPISODES))]
    return {key: _repeated(episodes, episodes.observation[key], pairs, some) for key in keys}


def problems_of(found: dict[str, Repeated]) -> list[str]:
    """Return one sentence for each thing that looks wrong."""
    sentences: list[str] = []
    for key, one in found.items():
        if one.stuck:
            listed = ", ".join(map(str, one.stuck[:8])) + (", …" if one.stuck[8:] else "")
            sentences.append(f"{key}: episodes {listed} show one picture throughout, while the robot moves")
        elif one.compared and one.equal > _SLOW * one.compared:
            sentences.append(
                f"{key}: {one.equal} of {one.compared} pictures that were compared equal the one before, while the "
                "robot moves; the camera is slower than the control rate, or hangs"
            )
    return sentences


def _repeated(episodes: Episodes, pictures: Array, pairs: Array, some: Array) -> Repeated:
    equal = 0
    for row in pairs:
        before, after = np.asarray(pictures[np.array([row, row + 1])])
        equal += bool(np.array_equal(before, after))
    stuck: list[int] = []
    for episode in some:
        start, last = int(episodes.starts[episode]), int(episodes.ends[episode]) - 1
        shown = np.asarray(pictures[np.array([start, (start + last) // 2, last])])
        if (shown == shown[0]).all():
            stuck.append(int(episode))
    return Repeated(len(pairs), equal, stuck)


def _moving(episodes: Episodes) -> Array:
    """Return (N,) whether the next row of the same episode shows more than a little motion."""
    features = episodes.spec.observation
    states = [value for key, value in episodes.observation.items() if is_number(key, features[key])]
    moves = np.zeros(len(episodes), np.bool_)
    for value in states or [episodes.action]:
        for column in np.asarray(value).reshape(len(episodes), -1).T:  # one by one: each is copied
            steps = np.abs(np.diff(column.astype(np.float64)))
            some = steps[:: max(1, len(steps) // _STEPS)]
            if some.any():
                moves[:-1] |= steps > _MOVES * np.median(some[some > 0])
    moves[episodes.ends - 1] = False
    return moves
