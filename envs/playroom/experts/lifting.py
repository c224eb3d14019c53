"""Experts that lift, place, stack and unstack blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....data.calvin.layout import COLORS, TABLE_TOP
from .grasping import ACROSS, TRIES, blocks, fetch, free_spot, held, lying_on, nearest, put, table_spot
from .hand import Hand, Motion

Array = NDArray[Any]

_DRAWER_FLOOR = 0.28


def lift(color: str, hand: Hand) -> Motion:
    """Lift a block from wherever it lies."""
    return fetch(hand, color, float(hand.random.uniform(0.10, 0.16)))


def place_in_slider(hand: Hand) -> Motion:
    """Put the held block on the shelf, where the sliding door leaves it free."""
    return _place(hand, _shelf_spot, ACROSS)


def place_in_drawer(hand: Hand) -> Motion:
    """Put the held block into the open drawer."""
    return _place(hand, drawer_spot, None)


def _place(hand: Hand, spot: Any, yaw: float | None) -> Motion:
    color = held(hand) or nearest(hand, COLORS)
    for _ in range(TRIES):
        yield from fetch(hand, color)
        goal = spot(hand, color)
        yield from put(hand, color, goal, None if yaw is None else yaw + hand.random.uniform(-0.15, 0.15))
        if abs(blocks(hand)[color].position[2] - goal[2]) < 0.03:
            return


def _shelf_spot(hand: Hand, color: str) -> Array:
    layout = hand.room.layout
    open_right = hand.room.scene_obs()[0] > layout.slide_travel / 2
    return free_spot(hand, color, layout.shelf_right if open_right else layout.shelf_left, (0.08, 0.10), TABLE_TOP)


def drawer_spot(hand: Hand, color: str) -> Array:
    """Draw a place (3,) in the part of the drawer that the table does not cover."""
    x, y, _ = hand.room.layout.drawer
    front = y - hand.room.scene_obs()[1]
    return free_spot(hand, color, (x - 0.12, x + 0.12), (front - 0.09, max(front - 0.03, -0.25)), _DRAWER_FLOOR)


def stack(hand: Hand) -> Motion:
    """Put a block on another one."""
    upper, lower = pair(hand)
    for _ in range(TRIES):
        yield from fetch(hand, upper)
        below = blocks(hand)[lower]
        height = below.half[2] + blocks(hand)[upper].half[2]
        yield from put(hand, upper, below.position + np.array([0.0, 0.0, height]))
        if lying_on(hand, lower) == upper:
            return


def pair(hand: Hand) -> tuple[str, str]:
    """Return which block goes on which: the held one or the nearest, onto one that is easy to reach if there is one.

    As the hand comes nearer the answer stays the same, so that it can be learned by who has no memory.
    """
    measured = blocks(hand)
    hard = [color for color in COLORS if measured[color].position[1] > -0.06]  # below the sliding door, on the shelf
    easy = [color for color in COLORS if color not in hard]
    upper = held(hand) or nearest(hand, easy if len(easy) > 1 else hard)
    rest = [color for color in easy or hard if color != upper] or hard
    return upper, nearest(hand, rest)


def unstack(hand: Hand) -> Motion:
    """Take a block off another one and put it beside it."""
    color = next((top for below in COLORS if (top := lying_on(hand, below)) is not None), nearest(hand, COLORS))
    for _ in range(TRIES):
        yield from fetch(hand, color, 0.08)
        yield from put(hand, color, table_spot(hand, color))
        if not any(lying_on(hand, below) == color for below in COLORS):
            return
