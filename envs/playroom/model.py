"""The room as a MuJoCo model: a table with drawer, sliding door, switch, button and lights, three blocks, and the arm.

All shapes are boxes and capsules, which collide fast and without surprises. A "link" is what the task predicates call
a part of the table: `base_link` does not move, and `plank_link` is the shelf behind the sliding door.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np

from ...data.calvin.layout import (
    BLOCK_WIDTH,
    BUTTON_TRAVEL,
    COLORS,
    DRAWER_TRAVEL,
    ROBOT_BASE,
    SWITCH_TRAVEL,
    TABLE_TOP,
    UP_THE_SLOPE,
    Layout,
)
from .arm import arm_body, arm_drives
from .engine import mujoco

SUBSTEPS = 8
RATE_HZ = 30.0
STATIC_CAMERA = ((2.871, -2.167, 2.555), (-0.026, -0.030, 0.392), (0.404, 0.226, 0.886))  # from, to, up

# Who collides with whom: the parts of the table never with each other, nor the links of the arm (type 0, affinity 1).
_TABLE, _BLOCK, _GRASPED = 'contype="1" conaffinity="2"', 'contype="2" conaffinity="2"', 'contype="1" conaffinity="0"'
_WOOD, _DARK, _DOOR, _METAL = ".72 .56 .40 1", ".52 .39 .28 1", ".86 .80 .70 1", ".35 .36 .40 1"
_PAINT = {"red": ".80 .15 .13 1", "blue": ".13 .28 .75 1", "pink": ".93 .45 .66 1"}
_SPIN_DECAY = 0.0005  # N s/m and Nm s/rad; an explicit integrator would let a free block spin faster and faster
_CUSHION = 0.015  # meters before the floor's surface where contact begins, which is at height 0 then
_DRY_FRICTION = 4.0  # newtons, of drawer, door and switch


def build_model(layout: Layout) -> Any:
    """Compile the `mujoco.MjModel` of one room."""
    return mujoco.MjModel.from_xml_string(room_xml(layout))


def room_xml(layout: Layout) -> str:
    """Return the room in MuJoCo's XML format.

    The integrator is explicit: with an implicit one, whose inertia is not the one that contact forces are computed for,
    blocks slip out of the grip. It is stable up to a damping of 2 inertias a step. The arm's drives have more in
    a few poses, where a joint trembles a little; more armature would cure that, and would make the arm lag more.
    With fewer line search iterations (20), the solver now and then misses the minimum and blocks explode. Contacts are
    as stiff as the time step allows, twice of which is MuJoCo's limit.
    """
    return f"""
<mujoco model="laminar playroom {layout.scene}">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{1 / (RATE_HZ * SUBSTEPS)}" integrator="Euler" cone="elliptic" impratio="10"
    iterations="30" ls_iterations="50"/>
  <option><flag multiccd="enable"/></option>
  <size memory="8M"/>
  <asset>{"".join(_mesh(color, layout.blocks[color]) for color in COLORS)}</asset>
  <visual>
    <global offwidth="640" offheight="480"/>
    <headlight ambient=".45 .45 .45" diffuse=".5 .5 .5" specular=".1 .1 .1"/>
    <map znear=".005" zfar="20"/>
  </visual>
  <default>
    <geom friction="0.7 0.001 0.0001" solref=".003 1" solimp=".95 .99 .001"/>
    <default class="table"><geom {_TABLE} friction="0.5 0.001 0.0001" rgba="{_WOOD}"/></default>
    <default class="block"><geom condim="4"/></default>
    <default class="picture"><geom contype="0" conaffinity="0" group="2" mass="0"/></default>
  </default>
  <worldbody>
    <light pos="0.6 -0.9 2.5" dir="-0.2 0.35 -1" directional="true" diffuse=".45 .45 .45"/>
    {_camera()}
    <geom name="floor" type="plane" size="3 3 .1" pos="0 0 {-_CUSHION}" margin="{_CUSHION}" {_TABLE}
      rgba=".30 .32 .36 1"/>
    {_table(layout)}
    {_moving_parts(layout)}
    {_lights(layout)}
    {"".join(_block(color, layout.blocks[color]) for color in COLORS)}
    {arm_body(ROBOT_BASE)}
  </worldbody>
  {arm_drives()}
</mujoco>"""


def _camera() -> str:
    place, target, up = (np.array(vector) for vector in STATIC_CAMERA)
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    axes = _text([*right, *np.cross(right, forward)])
    return f'<camera name="static" pos="{_text(place)}" xyaxes="{axes}" fovy="10"/>'


def _box(low: Iterable[float], high: Iterable[float], attributes: str = "") -> str:
    """Return a box between two corners, in the frame of its body."""
    low, high = np.array(list(low)), np.array(list(high))
    place, size = _text((low + high) / 2), _text((high - low) / 2)
    return f'<geom class="table" type="box" pos="{place}" size="{size}" {attributes}/>'


def _table(layout: Layout) -> str:
    """The parts that do not move. The shelf fills a gap in the board, so that a block on it touches it alone."""
    left, right = layout.plank[0] - 0.26, layout.plank[0] + 0.26
    dark = f'rgba="{_DARK}"'
    board, front, back = TABLE_TOP - 0.04, 0.02, 0.16
    base = [
        _box((-0.44, -0.18, board), (0.44, front, TABLE_TOP)),
        _box((-0.44, front, board), (left, 0.18, TABLE_TOP)),
        _box((right, front, board), (0.44, 0.18, TABLE_TOP)),
        _box((-0.44, back, TABLE_TOP), (0.44, 0.18, 0.648), dark),
        _box((-0.44, -0.18, 0.0), (-0.42, 0.18, board), dark),
        _box((0.42, -0.18, 0.0), (0.44, 0.18, board), dark),
        _box((-0.42, 0.165, 0.0), (0.42, 0.18, board), dark),
    ]
    plank = _box((left, front, board + 0.02), (right, back, TABLE_TOP), dark)
    return f"""
    <body name="base_link">{"".join(base)}</body>
    <body name="plank_link">{plank}</body>"""


def _moving_parts(layout: Layout) -> str:
    return _drawer(layout) + _slide(layout) + _switch(layout) + _button(layout)


def _drawer(layout: Layout) -> str:
    """A tray of 44 x 32 x 10 cm with a bar to pull, 8 cm before its front so that fingers fit behind it."""
    bar = f'rgba="{_METAL}"'
    walls = [
        _box((-0.22, -0.16, -0.05), (0.22, 0.16, -0.04)),
        _box((-0.22, -0.16, -0.04), (0.22, -0.145, 0.05)),
        _box((-0.22, 0.145, -0.04), (0.22, 0.16, 0.05)),
        _box((-0.22, -0.145, -0.04), (-0.205, 0.145, 0.05)),
        _box((0.205, -0.145, -0.04), (0.22, 0.145, 0.05)),
        _box((-0.07, -0.26, -0.01), (0.07, -0.24, 0.03), bar),
        _box((-0.07, -0.24, -0.01), (-0.055, -0.16, 0.03), bar),
        _box((0.055, -0.24, -0.01), (0.07, -0.16, 0.03), bar),
    ]
    joint = _slider_joint("drawer", (0, -1, 0), DRAWER_TRAVEL)
    return _link("drawer_link", layout.drawer, 4.23, joint, walls)


def _slide(layout: Layout) -> str:
    """A door with a bar, before the shelf; that is open from above, as the hand is too wide to reach in."""
    x, y, z = layout.slide
    length = layout.slide_travel
    light, bar = f'rgba="{_DOOR}"', f'rgba="{_METAL}"'
    front, top = 0.022 - y, 0.62 - z
    walls = [
        _box((0, front, 0.445 - z), (length, front + 0.012, top), light),
        _box((length / 2 - 0.012, front - 0.06, 0.495 - z), (length / 2 + 0.012, front, 0.60 - z), bar),
    ]
    return _link("slide_link", (x, y, z), 1.54, _slider_joint("slide", (-1, 0, 0), length), walls)


def _switch(layout: Layout) -> str:
    """A knob on a slope of 60 degrees, thin enough to be gripped between the fingers."""
    tilt = f'euler="{-np.pi / 6} 0 0"'
    slope = f"""<geom class="table" type="box" pos="0 .055 .02" size=".05 .008 .075" {tilt} rgba="{_DARK}"/>"""
    knob = f"""<geom class="table" type="box" pos="0 -.005 0" size=".012 .03 .014" {tilt} rgba=".90 .88 .30 1"/>"""
    joint = _slider_joint("switch", UP_THE_SLOPE, SWITCH_TRAVEL)
    place = _text(layout.switch)
    return f'<body name="slope_link" pos="{place}">{slope}</body>' + _link(
        "switch_link", layout.switch, 0.24, joint, [knob]
    )


def _button(layout: Layout) -> str:
    joint = f"""<joint name="button" type="slide" axis="0 0 -1" range="0 {BUTTON_TRAVEL}" stiffness="160"
      damping="4" springref="-0.005"/>"""
    top = '<geom class="table" type="cylinder" size=".035 .015" rgba=".20 .55 .30 1"/>'
    return _link("button_link", layout.button, 0.15, joint, [top])


def _slider_joint(name: str, axis: Iterable[float], travel: float) -> str:
    return f"""<joint name="{name}" type="slide" axis="{_text(axis)}" range="0 {travel}"
      frictionloss="{_DRY_FRICTION}" damping="2"/>"""


def _link(name: str, place: Iterable[float], mass: float, joint: str, geoms: list[str]) -> str:
    inertia = f'<inertial pos="0 0 0" mass="{mass}" diaginertia="{mass / 50} {mass / 50} {mass / 50}"/>'
    return f'<body name="{name}" pos="{_text(place)}" gravcomp="1">{inertia}{joint}{"".join(geoms)}</body>'


def _lights(layout: Layout) -> str:
    led, bulb = _text(layout.led), _text(layout.bulb)
    return f"""
    <geom name="led" class="picture" type="sphere" size=".016" pos="{led}" rgba=".25 .25 .25 1"/>
    <geom name="bulb" class="picture" type="sphere" size=".026" pos="{bulb}" rgba=".25 .25 .25 1"/>"""


def _block(color: str, length: float) -> str:
    """A box for the fingers, and the same as a mesh for all else: MuJoCo's own test of two boxes errs now and then.

    Once in some ten thousand tests of a box that lies on another it reports a contact as deep as the box is long, and
    the block jumps. The general test of convex shapes does not.
    """
    size = f"{length / 2} {BLOCK_WIDTH / 2} {BLOCK_WIDTH / 2}"
    return f"""
    <body name="{color}" pos="0 -1 .5"><joint name="{color}" type="free" damping="{_SPIN_DECAY}"/>
      <geom class="block" type="box" size="{size}" mass="1" {_GRASPED} rgba="{_PAINT[color]}"/>
      <geom class="block" type="mesh" mesh="{color}" mass="0" {_BLOCK} group="3"/></body>"""


def _mesh(color: str, length: float) -> str:
    x, y = length / 2, BLOCK_WIDTH / 2
    corners = " ".join(_text(corner) for corner in product((-x, x), (-y, y), (-y, y)))
    return f'<mesh name="{color}" vertex="{corners}"/>'


def _text(values: Iterable[float]) -> str:
    return " ".join(f"{float(value):.9g}" for value in values)
