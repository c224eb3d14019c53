"""Where things are in the four rooms: world frame, meters, z up; the robot stands at negative y and looks along +x.

The places, travels and block sizes are those that were measured in CALVIN's environment (Mees et al. 2022,
arXiv:2112.03227), so that its states and its data layout make sense here. The shapes are laminar's own.
"""

from __future__ import annotations

from dataclasses import dataclass

Vector = tuple[float, float, float]
Range = tuple[float, float]

COLORS = ("red", "blue", "pink")  # the order of the blocks in every `scene_obs` of laminar, whatever the scene
TABLE_TOP = 0.44  # height of the table's surface and of the shelf's
BLOCK_WIDTH = 0.04  # both short sides of every block
LENGTHS = {"small": 0.04, "middle": 0.056, "big": 0.08}
DRAWER_TRAVEL = 0.22
SWITCH_TRAVEL = 0.088
BUTTON_TRAVEL = 0.02
UP_THE_SLOPE: Vector = (0.0, 0.5, 3**0.5 / 2)  # the way of the switch: 150 degrees in CALVIN's frame
# Bars that a hand moves doors by, from where these are: of the sliding door (y, z), from its middle; of the drawer.
HANDLES = {"door": (-0.083, 0.0125), "drawer": (0.0, -0.25, 0.01)}
ROBOT_BASE: Vector = (-0.34, -0.46, 0.24)

# Pose, opening, joint angles and gripper command at the start of a chain (CALVIN's evaluation protocol).
NEUTRAL = (
    *(0.02586889, -0.2313129, 0.5712808),
    *(3.09045411, -0.02908596, 1.50013585),
    0.07999963,
    *(-1.21779124, 1.03987629, 2.11978254, -2.34205014, -0.87015899, 1.64119093, 0.55344928),
    1.0,
)


@dataclass(frozen=True)
class Layout:
    """One room.

    Attributes:
        scene: "A" to "D".
        button, switch: origins of the two controls; the button moves down, the switch up a slope.
        slide: left edge of the closed sliding door, on its upper rail; it opens along -x by `slide_travel`.
        drawer: center of the closed drawer; it opens along -y by `DRAWER_TRAVEL`.
        led, bulb: the two lights.
        plank: center of the shelf behind the sliding door.
        blocks: color -> length of the block's long side, its x side at yaw 0.
        file_order: the order in which CALVIN's own files of this scene list the blocks.
        table: x range and y range in which blocks are put on the table.
        shelf_left, shelf_right: x ranges on the shelf that the door at its one and at its other end leaves free.
    """

    scene: str
    button: Vector
    switch: Vector
    slide: Vector
    slide_travel: float
    drawer: Vector
    led: Vector
    bulb: Vector
    plank: Vector
    blocks: dict[str, float]
    file_order: tuple[str, str, str]
    table: tuple[Range, Range]
    shelf_left: Range
    shelf_right: Range
    shelf_y: Range = (0.05, 0.12)


def _blocks(red: str, blue: str, pink: str) -> dict[str, float]:
    return {"red": LENGTHS[red], "blue": LENGTHS[blue], "pink": LENGTHS[pink]}


LAYOUTS = {
    "A": Layout(
        scene="A",
        button=(-0.28, -0.12, 0.46),
        switch=(0.30, 0.061, 0.495),
        slide=(-0.10, 0.075, 0.535),
        slide_travel=0.28,
        drawer=(0.10, 0.0, 0.32),
        led=(-0.28, 0.16, 0.648),
        bulb=(0.30, 0.132, 0.648),
        plank=(-0.10, 0.09, 0.42),
        blocks=_blocks("middle", "big", "small"),
        file_order=("pink", "blue", "red"),
        table=((-0.20, 0.35), (-0.15, -0.03)),
        shelf_left=(-0.32, -0.16),
        shelf_right=(-0.05, 0.13),
    ),
    "B": Layout(
        scene="B",
        button=(0.28, -0.12, 0.46),
        switch=(-0.32, 0.061, 0.495),
        slide=(0.088, 0.075, 0.535),
        slide_travel=0.304,
        drawer=(0.18, 0.0, 0.32),
        led=(0.28, 0.16, 0.648),
        bulb=(-0.32, 0.136, 0.648),
        plank=(0.08, 0.09, 0.42),
        blocks=_blocks("small", "big", "middle"),
        file_order=("red", "blue", "pink"),
        table=((-0.35, 0.15), (-0.15, -0.03)),
        shelf_left=(-0.12, 0.06),
        shelf_right=(0.15, 0.33),
    ),
    "C": Layout(
        scene="C",
        button=(-0.12, -0.12, 0.46),
        switch=(-0.32, 0.061, 0.495),
        slide=(0.06, 0.075, 0.535),
        slide_travel=0.24,
        drawer=(0.10, 0.0, 0.32),
        led=(-0.12, 0.16, 0.648),
        bulb=(-0.32, 0.132, 0.648),
        plank=(0.08, 0.09, 0.42),
        blocks=_blocks("big", "small", "middle"),
        file_order=("blue", "red", "pink"),
        table=((0.0, 0.35), (-0.15, -0.03)),
        shelf_left=(-0.12, 0.06),
        shelf_right=(0.15, 0.30),
    ),
    "D": Layout(
        scene="D",
        button=(-0.12, -0.12, 0.46),
        switch=(0.30, 0.061, 0.495),
        slide=(-0.10, 0.075, 0.535),
        slide_travel=0.28,
        drawer=(0.18, 0.0, 0.32),
        led=(-0.12, 0.16, 0.648),
        bulb=(0.30, 0.132, 0.648),
        plank=(-0.10, 0.09, 0.42),
        blocks=_blocks("middle", "small", "big"),
        file_order=("red", "blue", "pink"),
        table=((0.0, 0.35), (-0.15, -0.03)),
        shelf_left=(-0.32, -0.16),
        shelf_right=(-0.05, 0.13),
    ),
}
