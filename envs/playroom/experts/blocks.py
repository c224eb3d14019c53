"""Experts for the three blocks: one script a task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ....data.calvin.layout import COLORS
from .hand import Hand, Motion
from .lifting import lift, place_in_drawer, place_in_slider, stack, unstack
from .pushing import push, push_into_drawer, rotate


def _scripts() -> dict[str, Callable[[Hand], Motion]]:
    made: dict[str, Callable[[Hand], Motion]] = {}
    for color in COLORS:
        made[f"rotate_{color}_block_left"] = partial(rotate, color, +1)
        made[f"rotate_{color}_block_right"] = partial(rotate, color, -1)
        made[f"push_{color}_block_left"] = partial(push, color, -1)
        made[f"push_{color}_block_right"] = partial(push, color, +1)
        for place in ("table", "slider", "drawer"):
            made[f"lift_{color}_block_{place}"] = partial(lift, color)
    return made | {
        "place_in_slider": place_in_slider,
        "place_in_drawer": place_in_drawer,
        "stack_block": stack,
        "unstack_block": unstack,
        "push_into_drawer": push_into_drawer,
    }


SCRIPTS = _scripts()
