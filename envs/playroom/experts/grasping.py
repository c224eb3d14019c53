"""Taking hold of blocks and putting them down: the parts that the experts for blocks are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....data.calvin.layout import BLOCK_WIDTH, COLORS, ROBOT_BASE, TABLE_TOP
from ..kinematics import euler_to_matrix
from .hand import OPEN, Hand, Motion, comfortable

Array = NDArray[Any]

ACROSS = np.pi / 2  # yaw of a hand whose fingers open along x
TRIES = 4
OPEN_FINGER, CLOSED_FINGER = 0.051, 0.011  # meters from the tool center point to the middle of a finger
_FINGER = 0.017  # radius of a disc that covers a finger, seen from above
_LOST = 0.25  # height below which a block lies on the floor
_MISS = 0.03  # meters from its place at which a hand has not arrived there
_ENCLOSED = 0.03  # meters above its place below which the fingers are beside the block
_TIP = 0.008  # meters that the fingers reach beyond the tool center point
_LOW, _HIGH = 0.56, 0.67  # heights for crossing the table, and the door before the shelf
_DOOR_Y, _BAR_Z = 0.022, 0.495  # front of the sliding door; lower end of the bar on it
_WALL_Y = 0.10  # where the hand is close to the wall behind the shelf
_BUTTON = 0.035  # radius
_DRAWER_Y, _TABLE_Y = -0.20, -0.18  # where the hand reaches into the drawer; front edge of the table
_SHOULDER = np.array([*ROBOT_BASE[:2], ROBOT_BASE[2] + 0.333])
_WRIST, _WRIST_OFFSET, _ARM = 0.247, 0.088, 0.69  # meters: tool to wrist, wrist to its joint, shoulder to that joint


@dataclass(frozen=True)
class Block:
    """A block as measured, on whatever side it lies.

    Attributes:
        color: its name.
        position: (3,) center in meters.
        yaw: of the longer one of its level edges, radians.
        half: (3,) half of the longer level edge, of the shorter one, and of its height, meters.
        tilt: radians by which it is turned about the x axis.
    """

    color: str
    position: Array
    yaw: float
    half: Array
    tilt: float

    @property
    def top(self) -> float:
        """Height of its upper side in meters."""
        return float(self.position[2] + self.half[2])

    def gap(self, point: Array) -> float:
        """Return the distance in meters of a point (2,) from the block, seen from above."""
        return _gap(point - self.position[:2], self.yaw, self.half[:2])


def blocks(hand: Hand) -> dict[str, Block]:
    """Measure all blocks."""
    poses = hand.room.scene_obs()[6:].reshape(3, 6)
    return {color: _block(hand, color, pose) for color, pose in zip(COLORS, poses, strict=True)}


def _block(hand: Hand, color: str, pose: Array) -> Block:
    rotation = euler_to_matrix(pose[3:])
    half = np.array([hand.room.layout.blocks[color], BLOCK_WIDTH, BLOCK_WIDTH]) / 2
    upright = int(np.abs(rotation[2]).argmax())
    level = sorted({0, 1, 2} - {upright}, key=lambda edge: -half[edge])
    edge, up = rotation[:, level[0]], rotation[:, upright] * np.sign(rotation[2, upright])
    yaw, tilt = np.arctan2(edge[1], edge[0]), np.arctan2(-up[1], up[2])
    return Block(color, pose[:3], float(yaw), half[[*level, upright]], float(tilt))


def _gap(way: Array, yaw: float, half: Array) -> float:
    along = np.array([np.cos(yaw) * way[0] + np.sin(yaw) * way[1], np.cos(yaw) * way[1] - np.sin(yaw) * way[0]])
    return float(np.linalg.norm(np.maximum(np.abs(along) - half, 0.0)))


def held(hand: Hand) -> str | None:
    """Return the color of the block between the closed fingers, None if there is none."""
    if hand.gripper == OPEN or not 0.02 < hand.room.opening() < 0.075:
        return None
    color = nearest(hand, COLORS)
    return color if np.linalg.norm(blocks(hand)[color].position - hand.position) < 0.045 else None


def nearest(hand: Hand, colors: Iterable[str]) -> str:
    """Return the color of the block that is nearest to the hand."""
    measured, here = blocks(hand), hand.position
    return min(colors, key=lambda color: float(np.linalg.norm(measured[color].position - here)))


def lying_on(hand: Hand, color: str) -> str | None:
    """Return the color of the block that lies on another one, None if there is none."""
    measured = blocks(hand)
    below = measured[color]
    for block in measured.values():
        if abs(block.position[2] - block.half[2] - below.top) < 0.012 and below.gap(block.position[:2]) < 0.01:
            return block.color
    return None


def clearance(hand: Hand, position: Array, yaw: float, without: Iterable[str], finger: float = OPEN_FINGER) -> float:
    """Return the free meters around fingers at a pose: to blocks but those `without`, to the button and the door's bar.

    Args:
        hand: measures.
        position: (3,) of the tool center point, meters.
        yaw: of the hand, radians.
        without: colors of blocks that may be touched.
        finger: meters from the tool center point to the middle of each finger.
    """
    out = finger * np.array([np.sin(yaw), -np.cos(yaw)])
    fingers = (position[:2] + out, position[:2] - out)
    gaps = [1.0]
    for block in blocks(hand).values():
        if block.color not in without and block.top > position[2] - _TIP and block.top - 0.1 < position[2]:
            gaps += [block.gap(finger) for finger in fingers]
    if position[2] > TABLE_TOP:
        gaps += [float(np.linalg.norm(finger - hand.room.layout.button[:2])) - _BUTTON for finger in fingers]
    if TABLE_TOP < position[2] < _BAR_Z and position[1] < _DOOR_Y:
        back = np.array([0.0, (_BAR_Z - position[2]) * np.tan(lean(hand, position))])
        gaps += [_gap(finger - back - [bar(hand), -0.008], 0.0, np.array([0.012, 0.03])) for finger in fingers]
    return min(gaps) - _FINGER


def bar(hand: Hand) -> float:
    """Return x of the bar on the sliding door."""
    layout = hand.room.layout
    return layout.slide[0] + layout.slide_travel / 2 - float(hand.room.scene_obs()[0])


def lean(hand: Hand, position: Array) -> float:
    """Return the tilt in radians for a place: off the sliding door and its bar, and as much as the reach asks for."""
    tilt, aside = 0.0, abs(position[0] - bar(hand))
    if position[1] < _DOOR_Y and position[2] < _BAR_Z + 0.03:
        if aside < 0.125:
            tilt = 0.6 * float(np.clip((position[1] + 0.09) / 0.05, 0.0, 1.0))
        elif aside < hand.room.layout.slide_travel / 2 + 0.11:
            tilt = 0.4 * float(np.clip((position[1] + 0.05) / 0.03, 0.0, 1.0))
    while tilt < 0.7 and not _in_reach(position, tilt):
        tilt += 0.1
    return tilt


def _in_reach(position: Array, tilt: float) -> bool:
    way = position + _WRIST * np.array([0.0, -np.sin(tilt), np.cos(tilt)]) - _SHOULDER
    level = np.linalg.norm(way[:2]) - _WRIST_OFFSET
    return bool(np.hypot(level, way[2]) < _ARM)


def upwards(hand: Hand) -> Array:
    """Return the direction (3,) out of which the tilted hand comes."""
    return np.array([0.0, -np.sin(hand.tilt), np.cos(hand.tilt)])


def retreat(hand: Hand) -> Motion:
    """Leave the place where the last motion ended: out of what stands around, and up."""
    x, y, z = hand.position
    if -0.085 < y < _DOOR_Y and z < 0.6:  # maybe under the bar of the sliding door, or beside it
        yield from hand.go([x, -0.11, z + 0.02], tolerance=0.02, patience=25)
        x, y, z = hand.position
    height = _HIGH if y > _DOOR_Y else _LOW
    if z < height - 0.04:
        yield from hand.go([x, y, height], tolerance=0.03, patience=35)


def travel(hand: Hand, goal: Array, yaw: float | None = None) -> Motion:
    """Go to a place above the room, over what stands between."""
    here = hand.position
    high = max(here[1], goal[1]) > _DOOR_Y
    height = max(_HIGH if high else _LOW, goal[2])
    if here[2] < height - 0.05 and (high or here[2] < _LOW - 0.05):
        yield from hand.go([here[0], here[1], height], tolerance=0.03, patience=35)
    if high:
        yield from hand.go([goal[0], goal[1], height], yaw, tolerance=0.03, patience=60)
    elif goal[1] > -0.12 and hand.tilt > 0.1:  # not through the bar of the sliding door
        yield from hand.go([goal[0], -0.15, goal[2]], yaw, tolerance=0.04, patience=60)
    yield from hand.go(goal, yaw, tolerance=0.025, patience=60)


def fetch(hand: Hand, color: str, height: float = 0.12) -> Motion:
    """Grasp a block and raise it by `height` meters, again if it was missed; what it carries is put aside first."""
    for _ in range(TRIES):
        if held(hand) == color or blocks(hand)[color].position[2] < _LOST:
            return
        if (burden := held(hand)) is not None:
            yield from put(hand, burden, table_spot(hand, burden))
        if (burden := lying_on(hand, color)) is not None:
            yield from grasp(hand, burden)
            yield from raise_block(hand, 0.08)
            yield from put(hand, burden, table_spot(hand, burden))
        yield from grasp(hand, color)
        yield from raise_block(hand, height)


def grasp(hand: Hand, color: str, spread: float = 1.0) -> Motion:
    """Close the fingers around a block where it lies, off its middle by up to `spread` of what its length allows."""
    yield from hand.open(1)
    yield from retreat(hand)
    position, yaw = _plan(hand, color, spread)
    hand.tilt = lean(hand, position)
    yield from travel(hand, position + hand.random.uniform(0.08, 0.11) * upwards(hand), yaw)
    moved = blocks(hand)[color].position - position  # something may have pushed it meanwhile
    if np.linalg.norm(moved[:2]) > 0.05:
        return
    yield from descend(hand, position, yaw)
    if np.linalg.norm(hand.position - position) < _MISS:
        yield from hand.close(8)


def _plan(hand: Hand, color: str, spread: float) -> tuple[Array, float]:
    """Draw where and at which yaw to grasp a block, among those that leave the most room around the fingers."""
    block = blocks(hand)[color]
    yaws = [block.yaw] if block.half[0] > 0.03 else [block.yaw, block.yaw + np.pi / 2]
    best: tuple[float, Array, float] | None = None
    for _ in range(12):
        yaw = comfortable(float(hand.random.choice(yaws)), hand.yaw)
        along = hand.random.uniform(-spread, spread) * max(block.half[0] - 0.018, 0.004)
        position = block.position + along * np.array([np.cos(block.yaw), np.sin(block.yaw), 0.0])
        position[2] = max(block.top - hand.random.uniform(0.014, 0.020), block.position[2])
        room = min(clearance(hand, position, yaw, [color]), 0.01) - 0.05 * max(abs(np.cos(yaw)) - 0.5, 0.0)
        room -= max(float(position[1]) - _WALL_Y, 0.0)
        if best is None or room > best[0]:
            best = room, position, yaw
    assert best is not None
    return best[1], best[2]


def descend(hand: Hand, goal: Array, yaw: float, patience: int = 40) -> Motion:
    """Go down to a place, only as far as the hand is above it: fingers must not land on what they shall enclose."""
    axis, out = upwards(hand), np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    for _ in range(patience):
        way = hand.position - goal
        height = float(way @ axis)
        beside = way - height * axis
        aside = max(abs(float(beside @ out)), 0.5 * float(np.linalg.norm(beside)))
        if height < 0.007 and aside < 0.01:
            return
        stay = float(np.clip(aside / 0.012 - 1.0, 0.0, 1.0)) * height if height > _ENCLOSED else 0.0
        yield hand.towards(goal + stay * axis, yaw)


def raise_block(hand: Hand, height: float) -> Motion:
    """Lift what is between the fingers; from under the bar of the sliding door it is drawn out first."""
    x, y, z = hand.position
    if y < _DOOR_Y and z < _LOW and hand.tilt > 0.05:
        yield from hand.go([x, min(y, -0.12), z + 0.012], tolerance=0.02, patience=40)
        x, y, z = hand.position
    goal = np.array([x, y, z + height])
    hand.tilt = max(hand.tilt, lean(hand, goal))
    yield from hand.go(goal, tolerance=0.02, patience=45)


def table_spot(hand: Hand, color: str) -> Array:
    """Draw a free place (3,) on the table for the center of a block."""
    (left, right), _ = hand.room.layout.table
    return free_spot(hand, color, (left, right), (-0.14, -0.09), TABLE_TOP)


def free_spot(
    hand: Hand, color: str, x_range: tuple[float, float], y_range: tuple[float, float], surface: float
) -> Array:
    """Draw a place (3,) with room around it for a block, at `surface` meters of height; else the roomiest one."""
    block = blocks(hand)[color]
    best, most = np.zeros(3), -np.inf
    for _ in range(20):
        x, y = hand.random.uniform(*x_range), hand.random.uniform(*y_range)
        spot = np.array([x, y, surface + block.half[2]])
        others = [other for other in blocks(hand).values() if other.color != color and abs(other.top - surface) < 0.09]
        room = min([other.gap(spot[:2]) for other in others], default=1.0) - block.half[0]
        if surface >= TABLE_TOP:
            away = np.linalg.norm(spot[:2] - hand.room.layout.button[:2])
            room = min(room, float(away) - _BUTTON - block.half[0])
        if room > most:
            best, most = spot, room
        if room > 0.045:
            break
    return best


def put(hand: Hand, color: str, spot: Array, yaw: float | None = None, drop: float = 0.004) -> Motion:
    """Carry the held block until its center is at `spot` (3,), let it go `drop` meters above, and leave upwards.

    Args:
        hand: holds it.
        color: of the block.
        spot: center of the block in the end, meters.
        yaw: of the hand in the end, radians; None keeps it.
        drop: height of its fall in meters.
    """
    inside = spot[1] < _DRAWER_Y
    goal = spot + np.array([0.0, 0.0, drop])
    hand.tilt = _leveling(hand, color, goal)
    shift = hand.position - blocks(hand)[color].position
    yield from travel(hand, goal + shift + np.array([0.0, 0.0, 0.20 if inside else 0.08]), yaw)
    if held(hand) != color:
        return
    shift = hand.position - blocks(hand)[color].position
    yield from descend(hand, goal + shift, hand.yaw)
    yield from release(hand)


def _leveling(hand: Hand, color: str, goal: Array) -> float:
    """Return the tilt of the hand at which the held block is level, or the one with which the arm reaches the goal."""
    down = euler_to_matrix(hand.room.tcp()[1])[:, 2]
    tilt = np.arctan2(down[1], -down[2]) + np.cos(hand.yaw) * hand.lean - blocks(hand)[color].tilt
    tilt = float(np.clip(tilt, 0.0, 0.7))
    return tilt if _in_reach(goal, tilt) else max(tilt, lean(hand, goal))


def release(hand: Hand) -> Motion:
    """Open the fingers and leave upwards."""
    yield from hand.open(8)
    yield from hand.go(hand.position + 0.08 * upwards(hand), tolerance=0.03, patience=20)
