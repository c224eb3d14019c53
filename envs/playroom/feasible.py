"""Which tasks make sense here and now: what free play chooses from.

Stricter than the predicates, which only compare two moments: a task is offered where a hand can do it without digging
a block out first, and not where it would push one off the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from ...data.calvin.layout import COLORS, Layout
from ...data.instructions import TASKS
from .snapshot import Link, Snapshot
from .tasks import DRAW, DRAWER, ONLY_TABLE, SLIDE, SLOW

TABLE, SHELF = ("table", "base_link"), ("table", "plank_link")
_SURE = 0.01  # meters that a joint or a block must have left beyond what the predicate measures
_ROOM = 0.075  # meters between the centers of two blocks that leave room for a finger between them
_PUSH = 0.13  # meters that a pushed block travels, and some more
_EDGE = 0.40  # meters from the middle, where the table ends for a block, along x
_REACHABLE_Y = (-0.165, 0.0)  # meters, of a block on the table: before the back wall, behind the front edge
_TIPS = 0.035  # meters on either side of a block that fingers need behind the door
_FRONT = -0.18  # y of the table's front edge
_BUTTON = 0.075  # meters around the button's center where a block is in the way
_FLOOR = 0.25  # height below which a block is lost
_UPRIGHT = 0.3  # largest |z| of a lying block's long axis


def feasible(layout: Layout, now: Snapshot) -> tuple[str, ...]:
    """Return the tasks that can be done from this moment on, in the order of `TASKS`."""
    return tuple(task for task in TASKS if _CONDITIONS[task](layout, now))


def held_block(now: Snapshot) -> str | None:
    """Return the color of the block that touches the robot alone, None if there is none."""
    return next((color for color in COLORS if now.contacts[color] and not _resting_on(color, now)), None)


def lost_block(now: Snapshot) -> str | None:
    """Return the color of a block that fell off the table, None if all are there."""
    return next((color for color in COLORS if now.position[color][2] < _FLOOR), None)


def _resting_on(color: str, now: Snapshot) -> frozenset[Link]:
    """What a block touches, the robot aside."""
    return frozenset(link for link in now.contacts[color] if link[0] != "robot")


def _alone_on(surface: Link, color: str, now: Snapshot) -> bool:
    """Whether a block lies on a surface, flat, touching nothing else but maybe the robot."""
    flat = abs(now.rotation[color][2][0]) < _UPRIGHT
    return flat and _resting_on(color, now) == frozenset({surface}) and held_block(now) is None


def _others(color: str, now: Snapshot) -> list[tuple[float, float]]:
    """The ways (x, y) from a block to the other two, seen from above."""
    x, y, _ = now.position[color]
    return [(now.position[other][0] - x, now.position[other][1] - y) for other in COLORS if other != color]


def _graspable(surface: Link, color: str, now: Snapshot) -> bool:
    """Whether fingers fit around a block."""
    return _alone_on(surface, color, now) and all(math.hypot(x, y) > _ROOM for x, y in _others(color, now))


def _on_table(color: str, now: Snapshot) -> bool:
    """Whether a block lies on the table where the hand can work around it."""
    x, y, _ = now.position[color]
    return _graspable(TABLE, color, now) and abs(x) < _EDGE and _REACHABLE_Y[0] < y < _REACHABLE_Y[1]


def _clear_of_button(color: str, layout: Layout, now: Snapshot) -> bool:
    return math.dist(now.position[color][:2], layout.button[:2]) > _BUTTON


def _on_shelf(color: str, layout: Layout, now: Snapshot) -> bool:
    """Whether a block lies on a part of the shelf that the door does not cover."""
    left = layout.slide[0] - now.slider
    x = now.position[color][0]
    return _graspable(SHELF, color, now) and not left - _TIPS < x < left + layout.slide_travel + _TIPS


def _in_drawer(color: str, now: Snapshot) -> bool:
    """Whether a block lies in the part of the drawer that the table does not cover."""
    return _graspable(DRAWER, color, now) and now.position[color][1] < _FRONT - _TIPS


def _liftable(color: str, place: str, layout: Layout, now: Snapshot) -> bool:
    match place:
        case "table":
            return _on_table(color, now)
        case "slider":
            return _on_shelf(color, layout, now)
        case _:
            return _in_drawer(color, now)


def _rotatable(color: str, layout: Layout, now: Snapshot) -> bool:
    return _on_table(color, now) and _clear_of_button(color, layout, now)


def _pushable(color: str, sign: int, layout: Layout, now: Snapshot) -> bool:
    """Whether a block lies free on the table, which goes on far enough; over what is in the way it has to be carried.

    CALVIN's chains ask for it of any block on the table, and play shows it of those that a hand can work around.
    """
    return _on_table(color, now) and sign * now.position[color][0] + _PUSH < _EDGE


def _pushable_into_drawer(layout: Layout, now: Snapshot) -> bool:
    """Whether a block lies free on the table, wherever that is: beside the drawer it has to be carried to it.

    CALVIN's chains ask for it of any block on the table, a quarter of them beside the drawer; so play shows it there.
    """
    return now.drawer > DRAW and any(now.contacts[color] == ONLY_TABLE and _on_table(color, now) for color in COLORS)


def _slidable(sign: int, layout: Layout, now: Snapshot) -> bool:
    way = layout.slide_travel - now.slider if sign > 0 else now.slider
    return held_block(now) is None and way > SLIDE + _SURE


def _openable(layout: Layout, now: Snapshot) -> bool:
    return held_block(now) is None and now.drawer < DRAW - 2 * _SURE


def _closable(layout: Layout, now: Snapshot) -> bool:
    return held_block(now) is None and now.drawer > DRAW + _SURE / 4


def _switchable(light: str, shines: bool, layout: Layout, now: Snapshot) -> bool:
    if held_block(now) is not None or getattr(now, light) == shines:
        return False
    return light == "lightbulb" or all(_clear_of_button(color, layout, now) for color in COLORS)


def _placeable(layout: Layout, now: Snapshot) -> bool:
    """Whether the robot holds a block and touches nothing else, as the predicates of placing want it."""
    held = held_block(now)
    return held is not None and {body for body, _ in now.robot_contacts} == {held}


def _placeable_in_drawer(layout: Layout, now: Snapshot) -> bool:
    return _placeable(layout, now) and now.drawer > DRAW


def _stackable(layout: Layout, now: Snapshot) -> bool:
    """Whether the robot holds a block and another one lies free on the table."""
    held = held_block(now)
    return _placeable(layout, now) and any(_base_of_stack(color, now) for color in COLORS if color != held)


def _base_of_stack(color: str, now: Snapshot) -> bool:
    x, y, _ = now.position[color]
    near = abs(x) < _EDGE and _REACHABLE_Y[0] < y < _REACHABLE_Y[1]
    return near and now.contacts[color] == ONLY_TABLE and abs(now.rotation[color][2][0]) < _UPRIGHT


def _unstackable(layout: Layout, now: Snapshot) -> bool:
    """Whether a block rests on blocks alone, and the hand is free."""
    return held_block(now) is None and any(
        bool(now.contacts[color])
        and all(body in COLORS for body, _ in now.contacts[color])
        and all(abs(speed) < SLOW for speed in now.velocity[color])
        for color in COLORS
    )


Condition = Callable[[Layout, Snapshot], bool]


def _conditions() -> dict[str, Condition]:
    made: dict[str, Condition] = {
        "move_slider_left": partial(_slidable, +1),
        "move_slider_right": partial(_slidable, -1),
        "open_drawer": _openable,
        "close_drawer": _closable,
        "place_in_slider": _placeable,
        "place_in_drawer": _placeable_in_drawer,
        "push_into_drawer": _pushable_into_drawer,
        "stack_block": _stackable,
        "unstack_block": _unstackable,
    }
    for light in ("lightbulb", "led"):
        made[f"turn_on_{light}"] = partial(_switchable, light, True)
        made[f"turn_off_{light}"] = partial(_switchable, light, False)
    for color in COLORS:
        for side, sign in (("left", -1), ("right", 1)):
            made[f"rotate_{color}_block_{side}"] = partial(_rotatable, color)
            made[f"push_{color}_block_{side}"] = partial(_pushable, color, sign)
        for place in ("table", "slider", "drawer"):
            made[f"lift_{color}_block_{place}"] = partial(_liftable, color, place)
    return made


_CONDITIONS = _conditions()
