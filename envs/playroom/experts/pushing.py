"""Experts that push and turn blocks on the table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....data.calvin.layout import COLORS, TABLE_TOP
from .grasping import (
    ACROSS,
    CLOSED_FINGER,
    TRIES,
    Block,
    bar,
    blocks,
    clearance,
    descend,
    fetch,
    free_spot,
    grasp,
    held,
    lean,
    nearest,
    put,
    release,
    retreat,
    travel,
    upwards,
)
from .hand import Hand, Motion
from .lifting import drawer_spot

Array = NDArray[Any]

_WIDTH = 0.012  # meters from the tool center point to the outside of closed fingers
_ENOUGH = 0.115  # meters along x after which a block counts as pushed
_TURNED = 1.15  # radians after which it counts as turned
_TABLE_X = 0.38  # meters from the middle to where a block must not be pushed any farther


def push(color: str, sign: int, hand: Hand) -> Motion:
    """Move a block over the table to the right (+1) or to the left (-1)."""
    begin = blocks(hand)[color].position[0]
    for _ in range(TRIES):
        block = blocks(hand)[color]
        done = sign * (block.position[0] - begin)
        if done > _ENOUGH:
            return
        aside = np.clip(block.position[1], -0.12, -0.06) - block.position[1]  # away from the edge and from the door
        far = np.array([sign * (hand.random.uniform(0.125, 0.16) - done), aside])
        near = np.array([sign * (_ENOUGH + 0.002 - done), aside])
        way = next((way for way in (far, near) if _is_clear(hand, block, way)), None)
        if way is None:  # who can push does not lift: a policy without memory cannot tell which it had begun
            yield from _carry(hand, color, far)
            continue
        between = abs(aside) < 0.01 and clearance(hand, block.position, _straddling(block), [color]) > 0.0
        yield from (_straddle if between and hand.random.random() < 0.5 else _shove)(hand, color, way)


def _is_clear(hand: Hand, block: Block, way: Array) -> bool:
    """Return whether nothing stands on the way of block and closed fingers, nor behind, where the fingers go down."""
    others = [other for other in blocks(hand).values() if other.color != block.color and other.top < 0.55]
    for share in np.linspace(-0.6, 1.1, 18):
        spot = block.position[:2] + share * way
        if np.linalg.norm(spot - hand.room.layout.button[:2]) < 0.035 + block.half[0] or abs(spot[0]) > _TABLE_X:
            return False
        if any(other.gap(spot) < block.half[0] + 0.005 for other in others):
            return False
        if clearance(hand, np.array([*spot, block.position[2]]), ACROSS, [block.color], CLOSED_FINGER) < 0.0:
            return False
    return True


def _shove(hand: Hand, color: str, way: Array) -> Motion:
    """Push a block by `way` (2,) meters with closed fingers."""
    block, ahead = blocks(hand)[color], way / np.linalg.norm(way)
    size = _extent(block, ahead) + _WIDTH
    aside = hand.random.uniform(-0.008, 0.008) * np.array([ahead[1], -ahead[0]])
    behind = block.position.copy()
    behind[:2] += aside - (size + hand.random.uniform(0.012, 0.025)) * ahead
    behind[2] += hand.random.uniform(-0.004, 0.006)
    goal = behind.copy()
    goal[:2] = block.position[:2] + aside + way - size * ahead
    yaw = ACROSS + hand.random.uniform(-0.2, 0.2)
    yield from hand.open(4)
    yield from retreat(hand)
    yield from hand.close(1)
    yield from _sweep(hand, behind, goal, yaw)


def _straddle(hand: Hand, color: str, way: Array) -> Motion:
    """Take a block between open fingers and push it by `way` (2,) meters with one of them."""
    block, ahead = blocks(hand)[color], way / np.linalg.norm(way)
    slack = 0.04 - _extent(block, ahead)
    place = block.position + np.array([0.0, 0.0, hand.random.uniform(-0.004, 0.004)])
    goal = place.copy()
    goal[:2] += way + max(slack, 0.0) * ahead
    yield from hand.open(4)
    yield from retreat(hand)
    yield from _sweep(hand, place, goal, _straddling(block))


def _sweep(hand: Hand, begin: Array, goal: Array, yaw: float) -> Motion:
    """Go down to a place, along the table to another one, and up again."""
    hand.tilt = max(lean(hand, begin + share * (goal - begin)) for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    yield from travel(hand, begin + 0.09 * upwards(hand), yaw)
    yield from descend(hand, begin, yaw)
    if hand.position[2] < begin[2] + _WIDTH:  # nothing was in the way
        yield from hand.go(goal, yaw, slow=float(hand.random.uniform(0.5, 0.9)), patience=50)
    yield from hand.go(hand.position + 0.08 * upwards(hand), tolerance=0.03, patience=20)


def _carry(hand: Hand, color: str, way: Array) -> Motion:
    """Lift a block and put it down where it was to be pushed to, or beside it if that is not free."""
    x = blocks(hand)[color].position[0] + way[0]
    farther = float(np.clip(x + np.sign(way[0]) * 0.10, -_TABLE_X, _TABLE_X))
    yield from fetch(hand, color, float(hand.random.uniform(0.03, 0.08)))
    spot = free_spot(hand, color, (min(x, farther), max(x, farther)), (-0.14, -0.06), TABLE_TOP)
    yield from put(hand, color, spot)


def _extent(block: Block, direction: Array) -> float:
    """Return how far a block reaches from its center along a direction (2,), meters."""
    long, short = (np.array([np.cos(yaw), np.sin(yaw)]) for yaw in (block.yaw, block.yaw + np.pi / 2))
    return float(abs(long @ direction) * block.half[0] + abs(short @ direction) * block.half[1])


def _straddling(block: Block) -> float:
    """Return the yaw of a hand that takes a block between its fingers and opens them along x, or nearly so."""
    askew = (block.yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4
    return ACROSS + float(np.clip(askew, -0.2, 0.2))


def rotate(color: str, sign: int, hand: Hand) -> Motion:
    """Turn a block to the left (+1, counterclockwise from above) or to the right (-1)."""
    before = blocks(hand)[color]
    for _ in range(TRIES):
        turned = sign * _angle(blocks(hand)[color].yaw - before.yaw)
        if turned > _TURNED:
            return
        yield from _turn(hand, color, sign * (hand.random.uniform(1.3, 1.6) - turned), _room_to_turn(hand, before))


def _room_to_turn(hand: Hand, block: Block) -> Array:
    """Return a place (2,) near a block where the sliding door does not hinder the hand that turns it."""
    x, y = block.position[:2]
    beside = x - bar(hand)
    way = np.array([np.copysign(max(0.06 - abs(beside), 0.0), beside), min(-0.11 - y, 0.0)])
    if abs(beside) > 0.25:
        way[:] = 0.0
    return block.position[:2] + way * min(1.0, 0.075 / max(float(np.linalg.norm(way)), 1e-9))


def _turn(hand: Hand, color: str, angle: float, place: Array) -> Motion:
    """Grasp a block, draw it to a place (2,), turn it and let it go; only a hand that points down can turn it."""
    if lean(hand, blocks(hand)[color].position) > 0.1:
        yield from grasp(hand, color, 0.3)
        yield from _draw(hand, color, place)
        yield from _lay_down(hand, color)
    yield from grasp(hand, color, 0.3)
    if held(hand) != color:
        return
    yield from _draw(hand, color, place)
    if abs(hand.position[0] - bar(hand)) < 0.12:  # the hand turns above the sliding door
        yield from hand.go(hand.position + np.array([0.0, 0.0, hand.random.uniform(0.08, 0.10)]), patience=25)
    yield from hand.turn(hand.yaw + angle)
    yield from _lay_down(hand, color)


def _lay_down(hand: Hand, color: str) -> Motion:
    """Lower the held block to the table and let it go."""
    block, down = blocks(hand)[color], hand.position
    down[2] -= max(block.position[2] - block.half[2] - TABLE_TOP, 0.0)
    yield from hand.go(down, tolerance=0.012, patience=25)
    yield from release(hand)


def _draw(hand: Hand, color: str, place: Array) -> Motion:
    """Draw the held block over the table to a place (2,)."""
    goal = hand.position
    goal[:2] += place - blocks(hand)[color].position[:2]
    goal[2] += hand.random.uniform(0.0, 0.01)
    yield from hand.go(goal, tolerance=0.01, patience=25)


def _angle(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def push_into_drawer(hand: Hand) -> Motion:
    """Push a block over the edge of the table into the open drawer; carry it there where it cannot be pushed."""
    color = _before_drawer(hand)
    for _ in range(TRIES):
        block = blocks(hand)[color]
        if block.position[2] < TABLE_TOP - 0.08:
            return
        way = np.array([0.0, -0.19 - block.position[1]])
        behind = block.position[1] + _extent(block, np.array([0.0, 1.0])) + 2 * _WIDTH
        aligned = abs(block.position[0] - hand.room.layout.drawer[0]) < 0.15
        if aligned and behind < 0.0 and _is_clear(hand, block, way):
            yield from _shove(hand, color, way)
        else:
            yield from fetch(hand, color, 0.06)
            yield from put(hand, color, drawer_spot(hand, color), drop=float(hand.random.uniform(0.02, 0.12)))
        yield from hand.wait(8)  # until it lies still


def _before_drawer(hand: Hand) -> str:
    """Return which block to push: the nearest on the table, of those before the drawer if there are any."""
    measured = blocks(hand)
    middle = hand.room.layout.drawer[0]
    on_table = [color for color in COLORS if measured[color].position[1] < 0.02 and measured[color].position[2] > 0.4]
    before = [color for color in on_table if abs(measured[color].position[0] - middle) < 0.15]
    return nearest(hand, before or on_table or COLORS)
