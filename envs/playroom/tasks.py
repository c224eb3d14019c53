"""CALVIN's 34 tasks as predicates over two moments of the room: the start of an attempt, and now.

Thresholds and clauses are those that CALVIN measures with (Mees et al. 2022, arXiv:2112.03227, its task oracle). One of
them reads stricter than it is: `push_into_drawer` was meant to want the robot's hands off the block at the end too, but
CALVIN looks for the robot among pairs of body and link, where it never is. So a block that the robot still touches, or
even carried, counts when it started on the table alone and touches the drawer. Scores depend on it, hence it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from ...data.calvin.layout import COLORS
from ...errors import LaminarError, nearest
from .snapshot import Link, Snapshot

Predicate = Callable[[Snapshot, Snapshot], bool]

TURN = (60.0, 180.0)  # degrees about z, both ends excluded
TILT = 30.0  # degrees about x and y that a turn may have
TURN_SHIFT = 0.1  # meters by which a block may move while it is turned
PUSH = 0.1  # meters along x
SLIDE = 0.15  # meters of the sliding door
DRAW = 0.12  # meters of the drawer
LIFT = {"table": ("base_link", 0.05), "slider": ("plank_link", 0.03), "drawer": ("drawer_link", 0.05)}
SLOW = 1.0  # m/s and rad/s, each axis by itself
DRAWER: Link = ("table", "drawer_link")
ONLY_TABLE: frozenset[Link] = frozenset({("table", "base_link")})
ROBOT_ALONE = frozenset({"robot"})


def succeeded(task: str, start: Snapshot, now: Snapshot) -> bool:
    """Return whether `task` has been done between two moments.

    Raises:
        LaminarError: no task has this name.
    """
    if task not in PREDICATES:
        raise LaminarError(f"unknown task '{task}' of the playroom{nearest(task, PREDICATES)}")
    return PREDICATES[task](start, now)


def completed(start: Snapshot, now: Snapshot) -> frozenset[str]:
    """Return all tasks that have been done between two moments."""
    return frozenset([task for task, predicate in PREDICATES.items() if predicate(start, now)])


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@lru_cache(1024)
def _bodies(contacts: frozenset[Link]) -> frozenset[str]:
    return frozenset(body for body, _ in contacts)


def _rotated(color: str, sign: int, start: Snapshot, now: Snapshot) -> bool:
    """The block turned about z (left: +1, right: -1), hardly moved, and lies on something."""
    # Angles about the fixed axes x, y, z, in this order: now @ start.T = Rz Ry Rx.
    (a, b, c), (d, e, f) = now.rotation[color], start.rotation[color]
    if not TURN[0] < sign * math.degrees(math.atan2(_dot(b, d), _dot(a, d))) < TURN[1]:
        return False
    x = math.degrees(math.atan2(_dot(c, e), _dot(c, f)))
    y = math.degrees(math.asin(max(-1.0, min(1.0, -_dot(c, d)))))
    return (
        abs(x) < TILT
        and abs(y) < TILT
        and math.dist(start.position[color], now.position[color]) <= TURN_SHIFT
        and bool(_bodies(now.contacts[color]) - ROBOT_ALONE)
    )


def _pushed(color: str, sign: int, start: Snapshot, now: Snapshot) -> bool:
    """The block moved along x (right: +1, left: -1) and still touches all that it lay on."""
    if not sign * (now.position[color][0] - start.position[color][0]) > PUSH:
        return False
    before = {link for link in start.contacts[color] if link[0] != "robot"}
    return bool(before) and before <= now.contacts[color]


def _lifted(color: str, link: str, height: float, start: Snapshot, now: Snapshot) -> bool:
    """The block left the surface that it touched, and only the robot touches it."""
    return (
        bool(now.position[color][2] - start.position[color][2] > height)
        and _bodies(now.contacts[color]) == ROBOT_ALONE
        and ("table", link) in start.contacts[color]
    )


def _placed(link: str, start: Snapshot, now: Snapshot) -> bool:
    """The block that the robot held, and nothing else, lies on the surface, and the robot has let it go."""
    touched = _bodies(start.robot_contacts)
    if len(touched) != 1:
        return False
    (block,) = touched
    return (
        block in COLORS
        and _bodies(start.contacts[block]) == ROBOT_ALONE
        and block not in _bodies(now.robot_contacts)
        and ("table", link) in now.contacts[block]
    )


def _stacked(start: Snapshot, now: Snapshot) -> bool:
    """A block that touched no other rests on blocks alone."""
    return any(_rests_on_blocks(color, now) and _apart(start.contacts[color]) for color in COLORS)


def _unstacked(start: Snapshot, now: Snapshot) -> bool:
    """A block that rested on blocks alone touches none."""
    return any(_rests_on_blocks(color, start) and _apart(now.contacts[color]) for color in COLORS)


def _rests_on_blocks(color: str, room: Snapshot) -> bool:
    touching = _bodies(room.contacts[color])
    return bool(touching) and touching.issubset(COLORS) and all(abs(speed) < SLOW for speed in room.velocity[color])


def _apart(contacts: frozenset[Link]) -> bool:
    return _bodies(contacts).isdisjoint(COLORS)


def _slid(sign: int, start: Snapshot, now: Snapshot) -> bool:
    return sign * (now.slider - start.slider) > SLIDE


def _drawn(sign: int, start: Snapshot, now: Snapshot) -> bool:
    return sign * (now.drawer - start.drawer) > DRAW


def _bulb_switched(shines: bool, start: Snapshot, now: Snapshot) -> bool:
    return start.lightbulb != shines and now.lightbulb == shines


def _led_switched(shines: bool, start: Snapshot, now: Snapshot) -> bool:
    return start.led != shines and now.led == shines


def _pushed_into_drawer(start: Snapshot, now: Snapshot) -> bool:
    """A block that touched nothing but the table touches the drawer (see the head of this file)."""
    return any(DRAWER in now.contacts[color] and start.contacts[color] == ONLY_TABLE for color in COLORS)


def _predicates() -> dict[str, Predicate]:
    made: dict[str, Predicate] = {
        "move_slider_left": partial(_slid, +1),
        "move_slider_right": partial(_slid, -1),
        "open_drawer": partial(_drawn, +1),
        "close_drawer": partial(_drawn, -1),
        "place_in_slider": partial(_placed, "plank_link"),
        "place_in_drawer": partial(_placed, "drawer_link"),
        "stack_block": _stacked,
        "unstack_block": _unstacked,
        "turn_on_lightbulb": partial(_bulb_switched, True),
        "turn_off_lightbulb": partial(_bulb_switched, False),
        "turn_on_led": partial(_led_switched, True),
        "turn_off_led": partial(_led_switched, False),
        "push_into_drawer": _pushed_into_drawer,
    }
    for color in COLORS:
        made[f"rotate_{color}_block_left"] = partial(_rotated, color, +1)  # counterclockwise from above
        made[f"rotate_{color}_block_right"] = partial(_rotated, color, -1)
        made[f"push_{color}_block_left"] = partial(_pushed, color, -1)
        made[f"push_{color}_block_right"] = partial(_pushed, color, +1)
        for place, (link, height) in LIFT.items():
            made[f"lift_{color}_block_{place}"] = partial(_lifted, color, link, height)
    return made


PREDICATES = _predicates()
