"""Random states to start from, in which the asked task is possible and not done yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.calvin.layout import BLOCK_WIDTH, COLORS, DRAWER_TRAVEL, SWITCH_TRAVEL, TABLE_TOP, Layout, Range
from ...errors import LaminarError

Array = NDArray[Any]

REST = TABLE_TOP + BLOCK_WIDTH / 2  # height of the center of a block that lies on the table or on the shelf
_DRAWER_FLOOR = 0.28
_CLEARANCE = 0.095  # meters between the centers of two blocks: enough for two fingers and the longest block
_EDGE = -0.178  # y of the table's front edge, and 2 mm
_SHELF = 0.22  # meters from the middle of the shelf in which a block lies on it alone
_PUSH = 0.16  # meters of free table that a push needs
_TRIES = 1000


@dataclass
class Start:
    """A state to begin from.

    Attributes:
        slider, drawer, switch: joint positions in meters.
        led: whether the LED shines.
        blocks: color -> (x, y, z, yaw).
        held: color of the block that the gripper holds; its entry in `blocks` does not count.
        offset: (4,) of the gripper from its neutral pose: x, y, z in meters and yaw in radians.
    """

    slider: float
    drawer: float
    switch: float
    led: bool
    blocks: dict[str, Array] = field(default_factory=lambda: {})
    held: str | None = None
    offset: Array = field(default_factory=lambda: np.zeros(4))

    def scene_obs(self) -> Array:
        """Return the state as CALVIN's vector (24,)."""
        bulb = self.switch > SWITCH_TRAVEL / 2
        state = [self.slider, self.drawer, 0.0, self.switch, float(bulb), float(self.led)]
        for color in COLORS:
            x, y, z, yaw = self.blocks[color]
            state += [x, y, z, 0.0, 0.0, yaw]
        return np.array(state, np.float64)


def sample_start(layout: Layout, task: str | None, random: np.random.Generator) -> Start:
    """Draw a start for a task, or any start when None.

    Doors, lights and gripper pose are random; one or two blocks lie on the table, the others on the free part of the
    shelf, unless the task wants them elsewhere.
    """
    start = Start(
        slider=float(random.choice([0.0, layout.slide_travel])),
        drawer=float(random.choice([0.0, DRAWER_TRAVEL])),
        switch=float(random.choice([0.0, SWITCH_TRAVEL])),
        led=bool(random.integers(2)),
        offset=random.uniform((-0.08, -0.06, -0.06, -0.3), (0.08, 0.06, 0.06, 0.3)),
    )
    _allow(start, layout, task)
    _place_blocks(start, layout, task, random)
    return start


def _allow(start: Start, layout: Layout, task: str | None) -> None:
    """Set the joint or light that the task is to change to its other state."""
    match task:
        case "open_drawer":
            start.drawer = 0.0
        case "close_drawer" | "place_in_drawer" | "push_into_drawer":
            start.drawer = DRAWER_TRAVEL
        case "move_slider_left":
            start.slider = 0.0
        case "move_slider_right":
            start.slider = layout.slide_travel
        case "turn_on_lightbulb" | "turn_off_lightbulb":
            start.switch = 0.0 if task == "turn_on_lightbulb" else SWITCH_TRAVEL
        case "turn_on_led" | "turn_off_led":
            start.led = task == "turn_off_led"
        case _:
            if task and task.endswith("_drawer"):  # lift_…_block_drawer
                start.drawer = DRAWER_TRAVEL


def _place_blocks(start: Start, layout: Layout, task: str | None, random: np.random.Generator) -> None:
    """Put the block of the task where the task needs it, then the others wherever there is room."""
    chosen = next((color for color in COLORS if task and f"_{color}_" in task), None)
    order = [str(color) for color in random.permutation(COLORS)]
    if chosen:
        order = [chosen, *(color for color in order if color != chosen)]
    on_table = int(random.integers(1, 3))
    for index, color in enumerate(order):
        place = _wanted_place(task, index) or ("table" if index < on_table else "shelf")
        if place in ("held", "on top"):  # blocks this high must touch no others, nor the hand
            start.offset[2] = abs(start.offset[2])
        if place == "held":
            start.held, place = color, "table"  # which keeps a spot free to put it down
        if place == "on top":
            start.blocks[color] = start.blocks[order[0]] + [0.0, 0.0, BLOCK_WIDTH, 0.0]
            continue
        start.blocks[color] = _free_spot(color, place, start, layout, task if index == 0 else None, random)


def _wanted_place(task: str | None, index: int) -> str | None:
    """Return where the task needs the first (index 0) or second block; None: anywhere."""
    if task is None:
        return None
    if task.startswith("lift_"):
        return {"table": "table", "slider": "shelf", "drawer": "drawer"}[task.split("_")[-1]] if index == 0 else None
    if task.startswith("place_in_"):
        return "held" if index == 0 else None
    if task == "unstack_block":
        return ("table", "on top", None)[index]
    if task == "stack_block":
        return ("table", "table", None)[index]
    return "table" if index == 0 else None


def _free_spot(
    color: str, place: str, start: Start, layout: Layout, task: str | None, random: np.random.Generator
) -> Array:
    (x_low, x_high), (y_low, y_high) = _area(place, start, layout, task)
    if place == "table":  # not over its edge
        y_low = max(y_low, _EDGE + float(np.hypot(layout.blocks[color], BLOCK_WIDTH)) / 2)
    height = _DRAWER_FLOOR + BLOCK_WIDTH / 2 if place == "drawer" else REST
    others = [pose[:2] for pose in start.blocks.values()]
    for _ in range(_TRIES):
        spot = random.uniform((x_low, y_low), (x_high, y_high))
        if all(np.linalg.norm(spot - other) >= _CLEARANCE for other in others):
            yaw = np.pi / 2 + random.uniform(-np.pi / 8, np.pi / 8)
            return np.array([*spot, height, yaw])
    if place == "shelf":
        return _free_spot(color, "table", start, layout, None, random)
    raise LaminarError(f"no room for a further block on the {place} of scene {layout.scene}")


def _area(place: str, start: Start, layout: Layout, task: str | None) -> tuple[Range, Range]:
    if place == "drawer":  # the part that the table does not cover
        x, y = layout.drawer[0], layout.drawer[1] - start.drawer
        return (x - 0.10, x + 0.12), (y - 0.09, y - 0.03)
    if place == "shelf":  # the side that the door leaves free
        low, high = layout.shelf_right if start.slider > 0.1 else layout.shelf_left
        return (low, min(high, layout.plank[0] + _SHELF)), (0.085, 0.10)
    (x_low, x_high), y_range = layout.table
    match task.split("_") if task else []:
        case ["push", _, _, "left"]:
            x_low = max(x_low, -0.40 + _PUSH)
        case ["push", _, _, "right"]:
            x_high = min(x_high, 0.40 - _PUSH)
        case ["push", "into", "drawer"]:
            x_low, x_high = max(x_low, layout.drawer[0] - 0.12), min(x_high, layout.drawer[0] + 0.12)
        case ["unstack", _]:  # the upper block would be in the way of the sliding door's bar
            y_range = (y_range[0], -0.09)
        case _:
            pass
    return (x_low, x_high), y_range
