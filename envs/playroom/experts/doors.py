"""Experts for what is fixed to the table: drawer, sliding door, switch and button.

Each attempt draws its own way: which part is touched, whether fingers grip or push, where, and from which height. So
demonstrations have several modes. Within an attempt the motion is a smooth function of the measured state: a hand that
was pushed off comes back, and a policy can learn how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....data.calvin.layout import DRAWER_TRAVEL, SWITCH_TRAVEL, UP_THE_SLOPE
from .hand import CLOSED, OPEN, Hand, Motion

Array = NDArray[Any]
Script = Callable[[Hand], Motion]

_ATTEMPTS, _PATIENCE = 4, 80  # control steps of an attempt
_UP = np.array([0.0, 0.0, 1.0])
_ACROSS = np.pi / 2  # yaw of a hand whose fingers open along x
_LEAN = 0.2  # radians; more than blocks bear, which takes the measured roll far from its jump at pi
_SLIDER, _DRAWER, _, _SWITCH, _, _LED = range(6)  # entries of scene_obs
_END = 0.015  # meters from the end of a joint's travel that count as there
_BAR = -0.25  # of the drawer's bar from the drawer's center, along y
_AHEAD = 0.12  # meters that a moving hand aims ahead
_FUNNEL, _TRACK = 3.0, 0.012  # slope of the cone in which the hand comes in, and its radius at the tip in meters
_MISS = 0.035  # meters beside its place at which a hand neither moves the part nor keeps a grip
_SLACK = (-0.02, 0.04)  # meters that the hand may be behind and ahead of its place, along the motion
_FIRM, _LOOSE = 0.03, 0.05  # meters between fingers that hold, and that do not yet


@dataclass(frozen=True)
class _Way:
    """One way to move one joint.

    Attributes:
        joint: measures its position in meters.
        goal: where it should get.
        place: (3,) where the hand takes hold when the joint is at 0, in meters.
        axis: (3,) unit vector along which the part moves when the joint grows.
        away: (3,) unit vector, across the axis, from the place to where the hand comes from.
        above: meters along `away` at which the hand arrives.
        grip: whether the fingers close around the part.
        tilt: of the hand in radians.
    """

    joint: Callable[[], float]
    goal: float
    place: Array
    axis: Array
    away: Array
    above: float
    grip: bool
    tilt: float = 0.0

    def arrived(self) -> bool:
        return abs(self.goal - self.joint()) < _END

    def action(self, hand: Hand) -> Array:
        """Return what to do now: come in through the funnel, close the fingers, move the part."""
        joint = self.joint()
        place, push = self.place + joint * self.axis, np.sign(self.goal - joint) * self.axis
        offset = hand.position - place
        height, ahead = float(offset @ self.away), float(offset @ push)
        aside = offset - height * self.away - ahead * push
        beside = float(np.hypot(np.linalg.norm(aside), max(_SLACK[0] - ahead, ahead - _SLACK[1], 0.0)))
        miss = beside + max(height, 0.0)
        move = min(_AHEAD, abs(self.goal - joint) + 0.04) * max(0.0, 1.0 - miss / _MISS)
        if self.grip:
            hand.gripper = CLOSED if miss < (_MISS / 2 if hand.gripper == OPEN else _MISS) else OPEN
            move *= np.clip((_LOOSE - hand.room.opening()) / (_LOOSE - _FIRM), 0.0, 1.0)
        return hand.towards(place + _height(beside, self.above) * self.away + move * push, _ACROSS)


def _height(beside: float, above: float) -> float:
    """Return how high over its place a hand should be, by its distance from the funnel's axis; meters."""
    return min(above, _FUNNEL * max(0.0, beside - _TRACK))


def _move(choose: Callable[[Hand], _Way], hand: Hand) -> Motion:
    """Move a joint; what does not work is tried again in another way."""
    for _ in range(_ATTEMPTS):
        way = choose(hand)
        hand.tilt, hand.lean, hand.gripper = way.tilt, _LEAN, OPEN if way.grip else CLOSED
        for _ in range(_PATIENCE):
            if way.arrived():
                return
            yield way.action(hand)
        yield from hand.open(1)
        yield from hand.go(hand.position + 0.1 * way.away, patience=15)


def _joint(hand: Hand, index: int) -> float:
    return float(hand.room.scene_obs()[index])


def _coin(hand: Hand) -> bool:
    return bool(hand.random.random() < 0.5)


def _between(hand: Hand, low: float, high: float) -> float:
    return float(hand.random.uniform(low, high))


def _drawer(goal: float, hand: Hand) -> _Way:
    """Open: hook the bar from behind, or grip its left arm. Close: push the bar or, behind it, the drawer's front."""
    opens = goal > 0
    inside = opens or (_joint(hand, _DRAWER) > 0.18 and _coin(hand))
    grip = opens and _coin(hand)
    x, y, z = hand.room.layout.drawer
    along = -0.0625 if grip else _between(hand, -0.035, 0.035)
    across = _BAR + (_between(hand, 0.034, 0.04) if inside else -0.045)
    return _Way(
        joint=partial(_joint, hand, _DRAWER),
        goal=0.05 if inside and not opens else goal,  # further in, the table is in the hand's way
        place=np.array([x + along, y + across, z + _between(hand, 0.0, 0.012)]),
        axis=np.array([0.0, -1.0, 0.0]),
        away=_UP,
        above=_between(hand, 0.09, 0.13),
        grip=grip,
        tilt=0.2 if inside else 0.0,  # there is little room for the hand between bar and table
    )


def _door(share: float, hand: Hand) -> _Way:
    """Grip the bar, or push it from the side with closed fingers, to a share of the door's travel."""
    layout, grip = hand.room.layout, _coin(hand)
    middle = layout.slide[0] + layout.slide_travel / 2
    side = 0.0 if grip else _between(hand, 0.035, 0.05) * (1 if share > 0 else -1)
    away = np.array([0.0, -0.4, 1.0])
    return _Way(
        joint=partial(_joint, hand, _SLIDER),
        goal=share * layout.slide_travel,
        place=np.array([middle + side, _between(hand, -0.025, -0.01), _between(hand, 0.545, 0.56)]),
        axis=np.array([-1.0, 0.0, 0.0]),
        away=away / np.linalg.norm(away),
        above=_between(hand, 0.07, 0.11),
        grip=grip,
    )


def _switch(goal: float, hand: Hand) -> _Way:
    """Grip the knob, or push it along its slope with closed fingers, up from below or down from above."""
    grip, slope = _coin(hand), np.array(UP_THE_SLOPE)
    side = 0.0 if grip else _between(hand, 0.03, 0.04) * (-1 if goal > 0 else 1)
    x, y, z = hand.room.layout.switch
    return _Way(
        joint=partial(_joint, hand, _SWITCH),
        goal=goal,
        place=np.array([x, y - 0.03, z + 0.005]) + side * slope,
        axis=slope,
        away=np.array([0.0, -slope[2], slope[1]]),
        above=_between(hand, 0.08, 0.12),
        grip=grip,
        tilt=0.0 if x < 0 else 0.5,  # so that the arm reaches the far side
    )


def _light(on: bool, hand: Hand) -> Motion:
    """Press the button from above with closed fingers until the LED has changed, and let go of it."""
    for _ in range(_ATTEMPTS):
        x, y, z = hand.room.layout.button
        spot = np.array([x + _between(hand, -0.012, 0.012), y + _between(hand, -0.012, 0.012), z + 0.025])
        above, yaw = _between(hand, 0.06, 0.1), _between(hand, _ACROSS - 0.15, _ACROSS + 0.15)
        hand.lean, hand.gripper = _LEAN, CLOSED
        for _ in range(_PATIENCE):
            if (_joint(hand, _LED) > 0.5) == on:
                break
            offset = hand.position - spot
            beside = float(np.linalg.norm(offset[:2]))
            down = 0.06 * max(0.0, 1.0 - (beside + max(float(offset[2]), 0.0)) / _MISS)
            yield hand.towards(spot + (_height(beside, above) - down) * _UP, yaw)
        yield from hand.go(spot + 0.06 * _UP, yaw, patience=25)
        if (_joint(hand, _LED) > 0.5) == on:
            return


SCRIPTS: dict[str, Script] = {
    "open_drawer": partial(_move, partial(_drawer, DRAWER_TRAVEL)),
    "close_drawer": partial(_move, partial(_drawer, 0.0)),
    "move_slider_left": partial(_move, partial(_door, 1.0)),
    "move_slider_right": partial(_move, partial(_door, 0.0)),
    "turn_on_lightbulb": partial(_move, partial(_switch, SWITCH_TRAVEL)),
    "turn_off_lightbulb": partial(_move, partial(_switch, 0.0)),
    "turn_on_led": partial(_light, True),
    "turn_off_led": partial(_light, False),
}
