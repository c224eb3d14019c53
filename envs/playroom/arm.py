"""A seven-joint arm with a parallel gripper, after the Franka Emika Panda, as text for a MuJoCo model.

Kinematics and joint limits are the published ones; masses, centers of mass and moments of inertia are those
identified by Gaz et al. 2019 (doi:10.1109/LRA.2019.2931248), rounded, without products of inertia. The fingers are
longer than Franka's, as in CALVIN: the tool center point lies 0.14 m before the hand. They collide as capsules.
The arm does not collide with itself: its shapes have collision type 0 and affinity 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...data.calvin.layout import Vector

JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
TCP = "tcp"  # site between the finger tips: x across the fingers' motion, y along it, z out of the hand
FINGER_TRAVEL = 0.04  # meters, of each finger

_WHITE, _GRAY, _DARK = "0.93 0.93 0.94 1", "0.55 0.57 0.6 1", "0.16 0.17 0.19 1"
_PUSH = 40.0  # Nm, of the four large joints: half of what they could, so that no block is squeezed into the table
_RATE = 20.0  # 1/s, at which a joint closes the gap to its command: half of it in 1/30 s, as in CALVIN
_GRIPPER_RATE = 25.0  # 1/s
_GRIPPER_FORCE = 80.0  # N, half of it on each finger
_FIRM = 'solref="0.01 1" solimp="0.95 0.99 0.001"'  # of pads and gears: a block in the grip hardly creeps
_SKIN = 0.003  # m, before a shape, where contact begins: a blow of 1 m/s is stopped before it enters the shape


@dataclass(frozen=True)
class _Link:
    """A moving link: frame in the one before it, joint range (rad), effort limit (Nm), stiffness (Nm/rad), inertia."""

    frame: str
    range: tuple[float, float]
    effort: float
    stiffness: float
    mass: float
    center: str
    inertia: str
    geoms: str


def _solid(shape: str, color: str = _WHITE) -> str:
    return f'<geom {shape} rgba="{color}" contype="0" conaffinity="1" friction="0.5" margin="{_SKIN}"/>'


def _hidden(shape: str) -> str:
    return f'<geom {shape} contype="0" conaffinity="1" friction="0.5" group="3" margin="{_SKIN}"/>'


def _look(shape: str, color: str = _WHITE) -> str:
    return f'<geom {shape} rgba="{color}" contype="0" conaffinity="0" group="2"/>'


_X_BACK, _X_AHEAD = 'quat="1 -1 0 0"', 'quat="1 1 0 0"'  # quarter turns about x
_LINKS = (
    _Link(
        'pos="0 0 0.333"',
        (-2.8973, 2.8973),
        _PUSH,
        2160,
        4.97,
        "0.004 0.002 -0.048",
        "0.703 0.707 0.0091",
        _look('type="capsule" size="0.06" fromto="0 0 -0.19 0 0 -0.01"')
        + _look('type="cylinder" size="0.061 0.075" zaxis="0 1 0"'),
    ),
    _Link(
        _X_BACK,
        (-1.7628, 1.7628),
        _PUSH,
        1860,
        0.647,
        "-0.003 -0.029 0.003",
        "0.008 0.0281 0.026",
        _look('type="capsule" size="0.058" fromto="0 0 0 0 -0.12 0"'),
    ),
    _Link(
        f'pos="0 -0.316 0" {_X_AHEAD}',
        (-2.8973, 2.8973),
        _PUSH,
        1620,
        3.23,
        "0.028 0.039 -0.067",
        "0.0372 0.0362 0.0108",
        _solid('type="capsule" size="0.058" fromto="0 0 -0.16 0 0 -0.05"')
        + _look('type="capsule" size="0.055" fromto="0 0 -0.05 0.0825 0 0"'),
    ),
    _Link(
        f'pos="0.0825 0 0" {_X_AHEAD}',
        (-3.0718, -0.0698),
        _PUSH,
        1440,
        3.59,
        "-0.053 0.104 0.027",
        "0.0259 0.0196 0.0283",
        _solid('type="capsule" size="0.058" fromto="0 0 -0.05 0 0 0.05"')
        + _look('type="capsule" size="0.055" fromto="0 0 0 -0.0825 0.1 0"'),
    ),
    _Link(
        f'pos="-0.0825 0.384 0" {_X_BACK}',
        (-2.8973, 2.8973),
        12,
        200,
        1.23,
        "-0.012 0.041 -0.038",
        "0.0355 0.0295 0.0086",
        _solid('type="capsule" size="0.055" fromto="0 0 -0.27 0 0.05 -0.06"')
        + _look('type="capsule" size="0.045" fromto="0 0.05 -0.06 0 0 0"'),
    ),
    _Link(
        _X_AHEAD,
        (-0.0175, 3.7525),
        12,
        220,
        1.67,
        "0.06 -0.014 -0.011",
        "0.002 0.0044 0.0054",
        _solid('type="capsule" size="0.048" fromto="0 0 0 0.088 0 0"'),
    ),
    _Link(
        f'pos="0.088 0 0" {_X_AHEAD}',
        (-2.8973, 2.8973),
        12,
        150,
        0.736,
        "0.011 -0.004 0.062",
        "0.0125 0.01 0.0048",
        _solid('type="capsule" size="0.043" fromto="0 0 0 0 0 0.06"')
        + _look('type="cylinder" size="0.04 0.01" pos="0 0 0.098"', _GRAY),
    ),
)


def _link(index: int) -> str:
    """Return link `index` with all that hangs on it."""
    if index == len(_LINKS):
        return _HAND
    link, (low, high) = _LINKS[index], _LINKS[index].range
    return f"""<body name="panda_link{index + 1}" {link.frame} gravcomp="1">
      <inertial mass="{link.mass}" pos="{link.center}" diaginertia="{link.inertia}"/>
      <joint name="{JOINTS[index]}" axis="0 0 1" range="{low} {high}" armature="0.1"/>
      {link.geoms}
      {_link(index + 1)}
    </body>"""


# Hand and fingers look like boxes and collide as capsules: two boxes whose edges are nearly parallel may get a contact
# as deep as they are long (a flaw of MuJoCo 3.11's box collider).


def _finger(side: str, joint: str, direction: int) -> str:
    """Return a finger; the pads have the say in all their contacts (priority)."""
    sleeve = f'type="capsule" size="0.006" fromto="0 {direction * 0.015} 0.005 0 {direction * 0.015} 0.05"'
    look = _look(f'type="box" size="0.01 0.0075 0.029" pos="0 {direction * 0.0145} 0.029"', _GRAY)
    look += _look(f'name="{side}_tip" type="box" size="0.012 0.006 0.016" pos="0 {direction * 0.006} 0.0736"', _DARK)
    y = direction * 0.006
    pads = "".join(
        f'''<geom type="capsule" size="0.003" fromto="{x} {y} 0.0636 {x} {y} 0.0836" contype="0" conaffinity="1"
          group="3" margin="{_SKIN}" condim="4" priority="1" friction="1 0.005 0.0001" {_FIRM}/>'''
        for x in (-0.006, 0.006)
    )
    return f"""<body name="panda_{side}finger" pos="0 0 0.0584" gravcomp="1">
      <inertial mass="0.1" pos="0 {direction * 0.01} 0.05" diaginertia="6e-5 6e-5 1e-5"/>
      <joint name="{joint}" type="slide" axis="0 {direction} 0" range="0 {FINGER_TRAVEL}" armature="0.5"/>
      {_hidden(sleeve)}{pads}{look}
    </body>"""


# The camera hangs behind the hand and looks forward along it: the finger tips are in the upper half of its picture.
_HAND = f"""<body name="panda_hand" pos="0 0 0.107" euler="0 0 {-0.7853981633974483}" gravcomp="1">
  <inertial mass="0.73" pos="0 0 0.03" diaginertia="0.0025 0.001 0.0022"/>
  {_hidden('type="capsule" size="0.026" fromto="0 -0.071 0.029 0 0.071 0.029"')}
  {_look('type="box" size="0.025 0.1 0.029" pos="0 0 0.029"')}
  <site name="{TCP}" pos="0 0 0.14" size="0.004" group="4"/>
  <camera name="gripper" pos="-0.1 0 0" xyaxes="0 1 0 0.96356 0 -0.2675" fovy="75"/>
  {_finger("left", FINGER_JOINTS[0], 1)}
  {_finger("right", FINGER_JOINTS[1], -1)}
</body>"""


def arm_body(base: Vector) -> str:
    """Return the arm for a `<worldbody>`, standing upright at `base` (m) and facing +x; angles are in radians."""
    x, y, z = base
    foot = _look(f'type="cylinder" size="0.09" fromto="0 0 {-z} 0 0 0"', _DARK)
    foot += _look('type="cylinder" size="0.064 0.075" pos="0 0 0.075"')
    return f'<body name="panda_link0" pos="{x} {y} {z}">{foot}{_link(0)}</body>'


def arm_drives() -> str:
    """Return the top-level sections that move the arm: seven joint servos, and one for the geared fingers."""
    servos = "".join(
        f'<position name="{joint}" joint="{joint}" kp="{link.stiffness}" kv="{link.stiffness / _RATE:.1f}" '
        f'ctrlrange="{link.range[0]} {link.range[1]}" forcerange="{-link.effort} {link.effort}"/>'
        for joint, link in zip(JOINTS, _LINKS, strict=True)
    )
    left, right = FINGER_JOINTS
    stiffness = 4 * _GRIPPER_FORCE / FINGER_TRAVEL
    return f"""<tendon>
      <fixed name="fingers"><joint joint="{left}" coef="0.5"/><joint joint="{right}" coef="0.5"/></fixed>
    </tendon>
    <equality><joint joint1="{left}" joint2="{right}" {_FIRM}/></equality>
    <actuator>{servos}
      <position name="fingers" tendon="fingers" kp="{stiffness}" kv="{stiffness / _GRIPPER_RATE}"
        ctrlrange="0 {FINGER_TRAVEL}" forcerange="{-_GRIPPER_FORCE} {_GRIPPER_FORCE}"/>
    </actuator>"""
