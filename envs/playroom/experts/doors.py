"""Experts for what is fixed to the table: drawer, sliding door, switch and button.

Each attempt draws its own way: which part is touched, whether fingers grip or push, where, and from which height. So
demonstrations have several modes. Within an attempt the motion is a smooth function of the measured state: a hand that
lost its hold comes back, and a policy can learn how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..layout import DRAWER_TRAVEL, SWITCH_TRAVEL
from ..model import UP_THE_SLOPE
from .hand import CLOSED, OPEN, Hand, Motion

Array = NDArray[Any]
Script = Callable[[Hand], Motion]

_ATTEMPTS, _PATIENCE = 4, 80  # control steps of an attempt
_ACROSS = np.pi / 2  # yaw of a hand whose fingers open along x
_LEAN = 0.2  # radians; more than blocks bear, which takes the measured roll far from its jump at pi
_SLIDER, _DRAWER, _, _SWITCH = range(4)  # entries of scene_obs
_END = 0.015  # meters from the end of a joint's travel that count as there
_BAR = -0.25  # of the drawer's bar from the drawer's center, along y
_AHEAD = 0.12  # meters that a moving hand aims ahead
_FUNNEL, _TRACK = 3.0, 0.012  # slope of the cone in which the hand comes in, and its radius at the tip in meters
_MISS = 0.035  # meters beside its place at which a hand neither moves the joint nor keeps a grip
_FIRM, _LOOSE = 0.03, 0.05  # meters between fingers that hold, and that do not yet


@dataclass(frozen=True)
class _Way:
    """How to move one joint.

    Attributes:
        joint: measures its position in meters.
        goal: where it should get.
        place: (3,) where the hand takes hold when the joint is at 0, in meters.
        axis: (3,) unit vector along which the part moves when the joint grows.
        away: (3,) unit vector from the place to where the hand comes from.
        above: meters along `away` at which the hand arrives.
        room: meters that the hand may be before and behind its place, along its motion.
        grip: whether the fingers close around the part.
        tilt: of the hand in radians.
    """

    joint: Callable[[], float]
    goal: float
    place: Array
    axis: Array
    away: Array
    above: float
    room: tuple[float, float] = (0.02, 0.04)
    grip: bool = False
    tilt: float = 0.0
    yaw: float = _ACROSS

    def arrived(self) -> bool:
        return abs(self.goal - self.joint()) < _END

    def action(self, hand: Hand) -> Array:
        """Return what to do now: come in through the funnel, close, move."""
        left = self.goal - self.joint()
        place = self.place + self.joint() * self.axis
        push = np.sign(left) * self.axis
        offset = hand.position - place
        height = float(offset @ self.away)
        flat = offset - height * self.away
        ahead = float(flat @ push)
        beside = np.hypot(np.linalg.norm(flat - ahead * push), max(-self.room[0] - ahead, ahead - self.room[1], 0.0))
        miss = float(beside + max(height, 0.0))
        move = min(_AHEAD, abs(left) + 0.04) * max(0.0, 1.0 - miss / _MISS)
        if self.grip:
            hand.gripper = CLOSED if miss < (_MISS / 2 if hand.gripper == OPEN else _MISS) else OPEN
            move *= np.clip((_LOOSE - hand.room.opening()) / (_LOOSE - _FIRM), 0.0, 1.0)
        above = min(self.above, _FUNNEL * max(0.0, float(beside) - _TRACK))
        return hand.towards(place + above * self.away + move * push, self.yaw)


def _work(choose: Callable[[Hand], _Way], hand: Hand) -> Motion:
    """Move a joint; what did not work is tried again in another way."""
    for _ in range(_ATTEMPTS):
        way = choose(hand)
        hand.tilt, hand.lean, hand.gripper = way.tilt, _LEAN, OPEN if way.grip else CLOSED
        for _ in range(_PATIENCE):
            if way.arrived():
                break
            yield way.action(hand)
        if way.arrived():
            break
        yield from hand.open(1)
        yield from hand.go(hand.position + 0.1 * way.away, patience=15)
    hand.tilt = 0.0


def _joint(hand: Hand, index: int) -> float:
    return float(hand.room.scene_obs()[index])


def _coin(hand: Hand) -> bool:
    return bool(hand.random.random() < 0.5)


def _between(hand: Hand, low: ArrayLike, high: ArrayLike) -> Any:
    return hand.random.uniform(low, high)


def _drawer(goal: float, hand: Hand) -> _Way:
    """Open: hook closed fingers behind the bar, or grip its left arm. Close: push its bar or, behind that, its front."""
    opens = goal > 0
    inside = opens or (_joint(hand, _DRAWER) > 0.18 and _coin(hand))
    grip = opens and _coin(hand)
    along = -0.0625 if grip else _between(hand, -0.035, 0.035)
    return _Way(
        joint=partial(_joint, hand, _DRAWER),
        goal=goal if opens or not inside else 0.05,
        place=np.array(hand.room.layout.drawer)
        + [along, _BAR + (_between(hand, 0.034, 0.04) if inside else -0.045), _between(hand, 0.0, 0.012)],
        axis=np.array([0.0, -1.0, 0.0]),
        away=np.array([0.0, 0.0, 1.0]),
        above=_between(hand, 0.09, 0.13),
        grip=grip,
        tilt=0.2 if inside else 0.0,  # there is little room for the hand between bar and table
    )


def _door(goal: float, hand: Hand) -> _Way:
    """Grip the bar, or push it from the side with closed fingers."""
    layout, grip = hand.room.layout, _coin(hand)
    side = 0.0 if grip else _between(hand, 0.035, 0.05) * (1 if goal > 0 else -1)
    height = _between(hand, 0.545, 0.56)
    away = np.array([0.0, -0.4, 1.0])
    return _Way(
        joint=partial(_joint, hand, _SLIDER),
        goal=goal,
        place=np.array([layout.slide[0] + layout.slide_travel / 2 + side, _between(hand, -0.025, -0.01), height]),
        axis=np.array([-1.0, 0.0, 0.0]),
        away=away / np.linalg.norm(away),
        above=_between(hand, 0.07, 0.11),
        grip=grip,
    )


def _switch(goal: float, hand: Hand) -> _Way:
    """Grip the knob, or push it along its slope with closed fingers, up from below or down from above."""
    grip, slope = _coin(hand), np.array(UP_THE_SLOPE)
    side = 0.0 if grip else _between(hand, 0.03, 0.04) * (-1 if goal > 0 else 1)
    away = np.array([0.0, -(3**0.5) / 2, 0.5])
    place = np.array(hand.room.layout.switch) + [0.0, -0.03, 0.005] + side * slope
    return _Way(
        joint=partial(_joint, hand, _SWITCH),
        goal=goal,
        place=place,
        axis=slope,
        away=away,
        above=_between(hand, 0.08, 0.12),
        grip=grip,
        tilt=0.0 if place[0] < 0 else 0.5,  # so that the arm reaches the far side
    )


def _press(on: bool, hand: Hand) -> Motion:
    """Press the button from above with closed fingers until the light has changed."""
    for _ in range(_ATTEMPTS):
        spot = np.array(hand.room.layout.button) + [*_between(hand, (-0.012, -0.012), (0.012, 0.012)), 0.025]
        above, yaw = _between(hand, 0.06, 0.1), _between(hand, _ACROSS - 0.15, _ACROSS + 0.15)
        hand.lean, hand.gripper = _LEAN, CLOSED
        for _ in range(_PATIENCE):
            if hand.room.led == on:
                break
            offset = hand.position - spot
            beside = float(np.linalg.norm(offset[:2]))
            down = 0.06 * max(0.0, 1.0 - (beside + max(float(offset[2]), 0.0)) / _MISS)
            yield hand.towards(spot + [0.0, 0.0, min(above, _FUNNEL * max(0.0, beside - _TRACK)) - down], yaw)
        yield from hand.go(spot + [0.0, 0.0, 0.06], yaw, patience=25)
        if hand.room.led == on:
            break


def _travel_of_door(hand: Hand) -> float:
    return hand.room.layout.slide_travel


SCRIPTS: dict[str, Script] = {
    "open_drawer": partial(_work, partial(_drawer, DRAWER_TRAVEL)),
    "close_drawer": partial(_work, partial(_drawer, 0.0)),
    "move_slider_left": partial(_work, lambda hand: _door(hand.room.layout.slide_travel, hand)),
    "move_slider_right": partial(_work, partial(_door, 0.0)),
    "turn_on_lightbulb": partial(_work, partial(_switch, SWITCH_TRAVEL)),
    "turn_off_lightbulb": partial(_work, partial(_switch, 0.0)),
    "turn_on_led": partial(_press, True),
    "turn_off_led": partial(_press, False),
}
