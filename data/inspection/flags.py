"""What is odd about each episode, in a few words."""

from __future__ import annotations

from collections.abc import Mapping

from ..episodes import Episodes
from .repeats import Repeated, copies, ending_in_zeros, repeated_pictures
from .timing import dropped_rows


def flags(episodes: Episodes, repeated: Mapping[str, Repeated] | None = None) -> list[list[str]]:
    """Return (E,) lists, mostly empty.

    Args:
        episodes: which.
        repeated: camera -> `repeated_pictures`; None looks at them.
    """
    found: list[list[str]] = [[] for _ in range(episodes.num_episodes)]
    for episode, length in enumerate(episodes.lengths):
        if length == 1:
            found[episode].append("a single step")
    for episode, first in copies(episodes).items():
        found[episode].append(f"repeats episode {first}")
    for episode in ending_in_zeros(episodes):
        found[episode].append("ends in rows of zeros")
    for episode, dropped in enumerate(dropped_rows(episodes)):
        if dropped:
            found[episode].append(f"{dropped} rows are missing")
    for key, one in (repeated_pictures(episodes) if repeated is None else repeated).items():
        for episode in one.stuck:
            found[episode].append(f"one picture of {key}")
    return found
