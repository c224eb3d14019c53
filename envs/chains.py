"""CALVIN's long-horizon evaluation: initial states of the room, and chains of five tasks that follow from them.

The protocol is that of Mees et al. 2022 (arXiv:2112.03227), and so are the states, the order of the draws and the
seeds, so that the 1,000 chains are those that published numbers are made with. Drawing them takes half a minute, so
they are kept in chains.json: a row is the index of an initial state, then five indices into `TASK_ORDER`.

A state is symbolic: {"led": 0, "lightbulb": 1, "slider": "right", "drawer": "closed", "red_block": "table", …,
"grasped": 0}. It inherits one flaw of the protocol: a block that is placed on the shelf gets the name of the door's
side ("slider_right" while the door is right), although it can only lie on the side that the door leaves free.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from itertools import permutations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.calvin.layout import COLORS, DRAWER_TRAVEL, NEUTRAL, SWITCH_TRAVEL, Layout, Vector
from ..errors import LaminarError, nearest

State = dict[str, int | str]
Chain = tuple[State, tuple[str, ...]]

LENGTH = 5  # tasks in a chain
_SHELF = ("slider_right", "slider_left")
_CHOICES: dict[str, tuple[int | str, ...]] = {
    "led": (0, 1),
    "lightbulb": (0, 1),
    "slider": ("right", "left"),
    "drawer": ("closed", "open"),
    "red_block": ("table", *_SHELF),
    "blue_block": ("table", *_SHELF),
    "pink_block": ("table", *_SHELF),
    "grasped": (0,),
}
_FREE: State = {"grasped": 0}
_HOLDING: State = {"grasped": 1}
_YAW = (math.pi / 2 - math.pi / 8, math.pi / 2 + math.pi / 8)  # radians, of every block


class Way(NamedTuple):
    """One way of doing a task: what must hold before, what changes, and the category that a chain has once."""

    task: str
    category: str
    condition: State
    effect: State


def _ways() -> Iterator[Way]:
    """Yield every way of every task, in the order in which the chains are drawn."""
    sides = ("right", "left")
    other = {"right": "left", "left": "right"}
    for verb, color, side in product(("rotate", "push"), COLORS, sides):
        yield Way(f"{verb}_{color}_block_{side}", "rotate or push", {f"{color}_block": "table"} | _FREE, {})
    for side in ("left", "right"):
        yield Way(f"move_slider_{side}", "slider", {"slider": other[side]} | _FREE, {"slider": side})
    yield Way("open_drawer", "drawer", {"drawer": "closed"} | _FREE, {"drawer": "open"})
    yield Way("close_drawer", "drawer", {"drawer": "open"} | _FREE, {"drawer": "closed"})
    for color in COLORS:
        block = f"{color}_block"
        held = {block: "grasped"} | _HOLDING
        yield Way(f"lift_{block}_table", "lift table", {block: "table"} | _FREE, held)
        for side in sides:
            free = {block: f"slider_{side}", "slider": other[side]} | _FREE
            yield Way(f"lift_{block}_slider", "lift slider", free, held)
        yield Way(f"lift_{block}_drawer", "lift drawer", {block: "drawer", "drawer": "open"} | _FREE, held)
    for color, side in product(COLORS, sides):
        held = {f"{color}_block": "grasped", "slider": side} | _HOLDING
        yield Way("place_in_slider", "place", held, {f"{color}_block": f"slider_{side}"} | _FREE)
    for color in COLORS:
        held = {f"{color}_block": "grasped", "drawer": "open"} | _HOLDING
        yield Way("place_in_drawer", "place", held, {f"{color}_block": "drawer"} | _FREE)
    for task, before, after in (
        ("stack_block", ("grasped", "table", 1), ("stacked_top", "stacked_bottom", 0)),
        ("unstack_block", ("stacked_top", "stacked_bottom", 0), ("table", "table", 0)),
    ):
        for top, bottom in permutations(COLORS, 2):
            keys = (f"{top}_block", f"{bottom}_block", "grasped")
            yield Way(task, task, dict(zip(keys, before, strict=True)), dict(zip(keys, after, strict=True)))
    for light in ("lightbulb", "led"):
        yield Way(f"turn_on_{light}", "light", {light: 0} | _FREE, {light: 1})
        yield Way(f"turn_off_{light}", "light", {light: 1} | _FREE, {light: 0})
    for color in COLORS:
        others = [f"{name}_block" for name in COLORS if name != color]
        for places in product(_SHELF, repeat=2):  # no other block is on the table
            alone = {f"{color}_block": "table", "drawer": "open"} | dict(zip(others, places, strict=True)) | _FREE
            yield Way("push_into_drawer", "push_into_drawer", alone, {f"{color}_block": "drawer"})


_WAYS: dict[str, list[Way]] = {}
for _way in _ways():
    _WAYS.setdefault(_way.task, []).append(_way)

TASK_ORDER: tuple[str, ...] = tuple(_WAYS)
"""The 34 tasks in the order in which the chains are drawn."""


def outcomes(state: State, task: str) -> list[State]:
    """Return the states that `task` can lead to: none where it is not possible, several where blocks can be chosen.

    Raises:
        LaminarError: no task has this name.
    """
    if task not in _WAYS:
        raise LaminarError(f"unknown task '{task}' of the playroom{nearest(task, _WAYS)}")
    return [state | way.effect for way in _WAYS[task] if way.condition.items() <= state.items()]


def applicable(state: State) -> tuple[str, ...]:
    """Return the tasks that are possible in a state in exactly one way, as every task of a chain must be."""
    return tuple(task for task in TASK_ORDER if len(outcomes(state, task)) == 1)


def apply(state: State, task: str) -> State:
    """Return the state after `task`.

    Raises:
        LaminarError: the task is unknown, not possible here, or possible in several ways.
    """
    after = outcomes(state, task)
    if len(after) != 1:
        raise LaminarError(f"task '{task}' has {len(after)} outcomes, not 1, in state {state}; see `applicable`")
    return after[0]


@cache
def _initial_states() -> tuple[State, ...]:
    states = (dict(zip(_CHOICES, values, strict=True)) for values in product(*_CHOICES.values()))
    return tuple(state for state in states if _roomy([state[f"{color}_block"] for color in COLORS]))


def _roomy(places: list[int | str]) -> bool:
    return places.count("table") in (1, 2) and all(places.count(shelf) <= 1 for shelf in _SHELF)


def initial_states() -> list[State]:
    """Return the 192 states that chains start from: one or two blocks on the table, at most one a side of the shelf."""
    return [dict(state) for state in _initial_states()]


def generate(count: int) -> list[Chain]:
    """Draw `count` chains anew, spread evenly over the initial states, then shuffled.

    A smaller draw is not the beginning of a larger one: `load_chains` is what an evaluation wants.
    """
    states = initial_states()
    chains: list[Chain] = []
    for index, share in enumerate(np.array_split(np.arange(count), len(states))):
        chains += [(dict(states[index]), chain) for chain in draw(index, len(share))]
    return [chains[place] for place in np.random.RandomState(0).permutation(count)]


def draw(index: int, count: int) -> list[tuple[str, ...]]:
    """Draw `count` chains for the initial state number `index`, which is their seed too; fewer are the first of more.

    Five distinct tasks are drawn until they are of five categories and each is possible in exactly one way.
    """
    random = np.random.RandomState(index)
    chains: list[tuple[str, ...]] = []
    while len(chains) < count:
        chain = tuple(TASK_ORDER[task] for task in random.permutation(len(TASK_ORDER))[:LENGTH].tolist())
        if len({_WAYS[task][0].category for task in chain}) == LENGTH and _possible(_initial_states()[index], chain):
            chains.append(chain)
    return chains


def _possible(state: State, chain: tuple[str, ...]) -> bool:
    for task in chain:
        after = outcomes(state, task)
        if len(after) != 1:
            return False
        state = after[0]
    return True


@cache
def _rows() -> list[list[int]]:
    return json.loads(Path(__file__).with_name("chains.json").read_text(encoding="utf-8"))


def load_chains(count: int = 1000) -> list[Chain]:
    """Return the first `count` of CALVIN's 1,000 chains: (initial state, five tasks) each.

    Raises:
        LaminarError: `count` is not from 1 to 1,000.
    """
    if not 1 <= count <= len(_rows()):
        raise LaminarError(f"{count} chains were asked for; the protocol has 1 to {len(_rows())}")
    return [(dict(_initial_states()[row[0]]), tuple(TASK_ORDER[task] for task in row[1:])) for row in _rows()[:count]]


def start_state(state: State, layout: Layout) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the robot and the things of the room are when a chain starts: the same at every call.

    In scene D, the only one that CALVIN has chains for, the spots are CALVIN's. In the other scenes the spots on the
    shelf are the middles of its two ranges, those on the table are the middles of the two halves of its range.

    Args:
        state: one of `initial_states`.
        layout: the scene.

    Returns:
        robot_obs (15,), the neutral pose, and scene_obs (24,), blocks in the order red, blue, pink; raw units.

    Raises:
        LaminarError: chains do not start in this state.
    """
    if state not in _initial_states():
        raise LaminarError(f"no chain starts in state {state}; `initial_states` lists the {len(_initial_states())}")
    values = {key: state[key] for key in _CHOICES}.values()  # their order is part of the seed
    random = np.random.RandomState(fnv1_32(str(values)))
    spots, on_table = _spots(layout)
    random.shuffle(on_table)
    scene = np.zeros(24)
    scene[0] = layout.slide_travel if state["slider"] == "left" else 0.0
    scene[1] = DRAWER_TRAVEL if state["drawer"] == "open" else 0.0
    scene[3] = SWITCH_TRAVEL if state["lightbulb"] else 0.0
    scene[4:6] = state["lightbulb"], state["led"]
    for number, color in enumerate(COLORS):
        place = str(state[f"{color}_block"])
        # The first block on the table takes the first spot, but pink always takes the second.
        last = color == COLORS[-1]
        scene[6 + 6 * number : 9 + 6 * number] = spots[place] if place in spots else on_table.pop(-1 if last else 0)
        scene[11 + 6 * number] = random.uniform(*_YAW)
    return np.array(NEUTRAL), scene


def _spots(layout: Layout) -> tuple[dict[str, Vector], list[Vector]]:
    """Return the spot on each side of the shelf, and the two on the table."""
    if layout.scene == "D":
        return (
            {
                "slider_left": (-0.240851662, 0.0924044687, 0.460990009),
                "slider_right": (0.070341633, 0.0924044687, 0.460990009),
            },
            [(0.0500000896, -0.120000177, 0.459990009), (0.229995412, -0.11999514, 0.45999001)],
        )
    (low, high), table_y = layout.table
    y, height = sum(layout.shelf_y) / 2, 0.46
    shelf = {"slider_left": sum(layout.shelf_left) / 2, "slider_right": sum(layout.shelf_right) / 2}
    halves = (low + (high - low) / 4, high - (high - low) / 4)
    return {side: (x, y, height) for side, x in shelf.items()}, [(x, sum(table_y) / 2, height) for x in halves]


def fnv1_32(text: str) -> int:
    """Return the 32-bit FNV-1 hash of a text in UTF-8, begun at 0 and not at the usual basis, as CALVIN's seeds are."""
    value = 0
    for byte in text.encode():
        value = (value * 0x01000193 & 0xFFFFFFFF) ^ byte
    return value
