"""Every task's predicate fires on its own case, alone, and on no near miss of one clause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest

from laminar.data.calvin.layout import COLORS
from laminar.data.instructions import TASKS
from laminar.envs.playroom.snapshot import Snapshot
from laminar.envs.playroom.tasks import PREDICATES, completed, succeeded
from laminar.errors import LaminarError

FINGER, PALM = ("robot", "panda_leftfinger"), ("robot", "panda_hand")
TABLE, SHELF, DRAWER = ("table", "base_link"), ("table", "plank_link"), ("table", "drawer_link")
SLIDE = ("table", "slide_link")

ROOM = Snapshot(
    slider=0.0,
    drawer=0.0,
    lightbulb=False,
    led=False,
    position={color: [0.1 * i, -0.1, 0.46] for i, color in enumerate(COLORS)},
    rotation={color: np.eye(3).tolist() for color in COLORS},
    velocity={color: [0.0] * 6 for color in COLORS},
    contacts={color: frozenset({TABLE}) for color in COLORS},
    robot_contacts=frozenset(),
)


class Case(NamedTuple):
    task: str
    what: str
    start: Snapshot
    now: Snapshot
    fires: bool


def block(room: Snapshot, color: str, move: tuple[float, float, float] = (0, 0, 0), **changes: Any) -> Snapshot:
    """The room with one block moved, and with other contacts, rotation or velocity of it."""
    if "contacts" in changes:
        changes["contacts"] = frozenset(changes["contacts"])
    changes |= {key: changes[key].tolist() for key in changes.keys() & {"rotation", "velocity"}}
    changes["position"] = [at + by for at, by in zip(room.position[color], move, strict=True)]
    return replace(room, **{key: getattr(room, key) | {color: value} for key, value in changes.items()})


def touching(room: Snapshot, *links: tuple[str, str]) -> Snapshot:
    return replace(room, robot_contacts=frozenset(links))


def about(axis: str, degrees: float) -> np.ndarray:
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    matrix = np.eye(3)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix[j, j], matrix[j, k], matrix[k, j], matrix[k, k] = c, -s, s, c
    return matrix


def rotations() -> Iterator[Case]:
    for color, (side, sign) in product(COLORS, (("left", 1), ("right", -1))):
        task = f"rotate_{color}_block_{side}"
        quarter = about("z", sign * 90)

        def case(what: str, fires: bool, start: Snapshot = ROOM, task: str = task, color: str = color, **now: Any):
            return Case(task, what, start, block(ROOM, color, **now), fires)

        yield case("a quarter", True, rotation=quarter)
        yield case("61 degrees", True, rotation=about("z", sign * 61))
        yield case("tilted by 29 and 29", True, rotation=quarter @ about("y", 29) @ about("x", 29))
        yield case("moved 99 mm", True, rotation=quarter, move=(0, 0.099, 0))
        yield case("robot still there", True, rotation=quarter, contacts={TABLE, FINGER})
        start = block(ROOM, color, rotation=about("z", sign * 170))
        yield case("across 180 degrees", True, start, rotation=about("z", sign * 250))
        start = block(ROOM, color, rotation=about("x", 90))
        yield case("of a block on its side", True, start, rotation=quarter @ about("x", 90))
        yield case("59 degrees", False, rotation=about("z", sign * 59))
        yield case("half a turn", False, rotation=about("z", sign * 180))
        yield case("the other way", False, rotation=quarter.T)
        yield case("about x", False, rotation=about("x", sign * 90))
        yield case("about y", False, rotation=about("y", sign * 90))
        yield case("tilted about x", False, rotation=quarter @ about("x", 31))
        yield case("tilted about y", False, rotation=quarter @ about("y", -31))
        yield case("moved 101 mm", False, rotation=quarter, move=(0, 0.101, 0))
        yield case("in the gripper", False, rotation=quarter, contacts={FINGER})
        yield case("in the air", False, rotation=quarter, contacts=())


def pushes() -> Iterator[Case]:
    for color, (side, sign) in product(COLORS, (("left", -1), ("right", 1))):
        task, far = f"push_{color}_block_{side}", (sign * 0.101, 0, 0)
        other = (next(c for c in COLORS if c != color), "block")

        def case(what: str, fires: bool, start: Snapshot = ROOM, task: str = task, color: str = color, **now: Any):
            return Case(task, what, start, block(ROOM, color, **now), fires)

        yield case("101 mm", True, move=far)
        yield case("against another block", True, move=far, contacts={TABLE, other})
        yield case("in two hands", True, block(ROOM, color, contacts={TABLE, PALM}), move=far, contacts={TABLE, FINGER})
        yield case("99 mm", False, move=(sign * 0.099, 0, 0))
        yield case("the other way", False, move=(-sign * 0.101, 0, 0))
        yield case("along y", False, move=(0, 0.2, 0))
        yield case("onto the drawer", False, move=far, contacts={DRAWER})
        yield case("into the air", False, move=far, contacts={FINGER})
        yield case("away from a block", False, block(ROOM, color, contacts={TABLE, other}), move=far)
        yield case("out of the air", False, block(ROOM, color, contacts={FINGER}), move=far)


def lifts() -> Iterator[Case]:
    for color, (place, link, height) in product(
        COLORS, (("table", TABLE, 50), ("slider", SHELF, 30), ("drawer", DRAWER, 50))
    ):
        task, up = f"lift_{color}_block_{place}", (0.3, 0.1, (height + 1) / 1000)
        lying = block(ROOM, color, contacts={link})

        def case(what: str, fires: bool, start: Snapshot = lying, task: str = task, color: str = color, **now: Any):
            return Case(task, what, start, block(ROOM, color, **{"contacts": {FINGER}} | now), fires)

        yield case("just high enough", True, move=up)
        yield case("with two links", True, move=up, contacts={FINGER, PALM})
        yield case("already gripped", True, block(ROOM, color, contacts={link, FINGER}), move=up)
        yield case("too low", False, move=(0, 0, (height - 1) / 1000))
        yield case("still touching", False, move=up, contacts={FINGER, link})
        yield case("with another block", False, move=up, contacts={FINGER, ("blue", "block")})
        yield case("flying", False, move=up, contacts=())
        yield case("from elsewhere", False, block(ROOM, color, contacts={SLIDE}), move=up)


def placements() -> Iterator[Case]:
    for (task, link, wrong), color in product(
        (("place_in_slider", SHELF, DRAWER), ("place_in_drawer", DRAWER, TABLE)), COLORS
    ):
        this = (color, "block")
        held = touching(block(ROOM, color, contacts={FINGER, PALM}), this)
        laid = block(ROOM, color, contacts={link})
        yield Case(task, f"{color} let go", held, laid, True)
        yield Case(task, f"{color} with the robot at the door", held, touching(laid, SLIDE), True)
        yield Case(task, f"{color} leaning", held, block(laid, color, contacts={link, TABLE}), True)
        yield Case(task, f"{color} elsewhere", held, block(laid, color, contacts={wrong}), False)
        yield Case(task, f"{color} still held", held, touching(laid, this), False)
        yield Case(task, f"{color} and the door held", touching(held, this, SLIDE), laid, False)
        yield Case(task, f"{color} not held", touching(held), laid, False)
        yield Case(task, "the door held", touching(held, SLIDE), laid, False)
        yield Case(task, f"{color} not lifted", block(held, color, contacts={FINGER, TABLE}), laid, False)


def stacks() -> Iterator[Case]:
    for top, bottom in (("red", "blue"), ("blue", "pink"), ("pink", "red")):
        held = block(ROOM, top, contacts={FINGER})
        tower = block(block(ROOM, top, contacts={(bottom, "block")}), bottom, contacts={TABLE, (top, "block")})
        leaning = block(tower, top, contacts={(bottom, "block"), TABLE})
        gripped = block(tower, top, contacts={(bottom, "block"), FINGER})
        thrown = block(tower, top, velocity=np.array([0, 0, -1.1, 0, 0, 0]))
        spinning = block(tower, top, velocity=np.array([0, 0, 0, 0, 1.1, 0]))
        fast = block(ROOM, top, velocity=np.full(6, 9.0))
        slow = block(tower, top, velocity=np.full(6, -0.9))
        for what, other in (("", tower), (", slowly", slow)):
            yield Case("stack_block", f"{top} on {bottom}{what}", held, other, True)
            yield Case("unstack_block", f"{top} off {bottom}{what}", other, held, True)
        yield Case("unstack_block", f"{top} falls off {bottom}", tower, fast, True)
        air = block(tower, top, contacts=())
        misses = {"leaning": leaning, "gripped": gripped, "falling": thrown, "spinning": spinning}
        misses |= {"in the air": air, "apart": ROOM}
        for what, other in misses.items():
            yield Case("stack_block", f"{top} {what}", held, other, False)
            yield Case("unstack_block", f"{top} {what}", other, held, False)
        yield Case("stack_block", f"{top} was at another", leaning, tower, False)
        yield Case("unstack_block", f"{top} still at another", tower, gripped, False)


def furniture() -> Iterator[Case]:
    for task, key, sign, enough in (
        ("move_slider_left", "slider", 1, 0.15),
        ("move_slider_right", "slider", -1, 0.15),
        ("open_drawer", "drawer", 1, 0.12),
        ("close_drawer", "drawer", -1, 0.12),
    ):
        start = replace(ROOM, **{key: 0.2})
        for what, change, fires in (
            ("just enough", sign * (enough + 0.001), True),
            ("too little", sign * (enough - 0.001), False),
            ("the other way", -sign * 0.2, False),
        ):
            yield Case(task, what, start, replace(ROOM, **{key: 0.2 + change}), fires)
    for state, light in product(("on", "off"), ("lightbulb", "led")):
        after = replace(ROOM, **{light: state == "on"})
        before = replace(ROOM, **{light: state == "off"})
        yield Case(f"turn_{state}_{light}", "switched", before, after, True)
        yield Case(f"turn_{state}_{light}", "was so already", after, after, False)
        yield Case(f"turn_{state}_{light}", "not yet", before, before, False)
        yield Case(f"turn_{state}_{light}", "the other way", after, before, False)


def drops() -> Iterator[Case]:
    for color in COLORS:
        inside = block(ROOM, color, contacts={DRAWER})
        cases = {
            "dropped": (ROOM, inside, True),
            "still touched, as CALVIN has it": (ROOM, block(ROOM, color, contacts={DRAWER, FINGER}), True),
            "touched at the start": (block(ROOM, color, contacts={TABLE, FINGER}), inside, False),
            "from the shelf": (block(ROOM, color, contacts={SHELF}), inside, False),
            "from the air": (block(ROOM, color, contacts=()), inside, False),
            "still on the table": (ROOM, ROOM, False),
        }
        for what, (start, now, fires) in cases.items():
            yield Case("push_into_drawer", f"{color} {what}", start, now, fires)


CASES = [*rotations(), *pushes(), *lifts(), *placements(), *stacks(), *furniture(), *drops()]


def test_every_task_has_a_predicate_a_case_and_a_near_miss() -> None:
    assert set(PREDICATES) == set(TASKS)
    assert {case.task for case in CASES if case.fires} == set(TASKS)
    assert {case.task for case in CASES if not case.fires} == set(TASKS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.task}: {case.what}")
def test_predicate(case: Case) -> None:
    assert succeeded(case.task, case.start, case.now) is case.fires
    if case.fires:
        assert completed(case.start, case.now) == {case.task}


def test_nothing_is_done_when_nothing_happens() -> None:
    assert completed(ROOM, ROOM) == frozenset()


def test_several_tasks_at_once() -> None:
    now = block(replace(ROOM, led=True, drawer=0.2), "red", move=(0.2, 0, 0))
    assert completed(ROOM, now) == {"turn_on_led", "open_drawer", "push_red_block_right"}


def test_an_idle_step_reads_little() -> None:
    """The predicates are asked at every control step: what the first clause settles, no other clause looks at."""
    unread: dict[str, Any] = {}
    assert completed(replace(ROOM, velocity=unread), replace(ROOM, velocity=unread)) == frozenset()
    rotations = {task for task in TASKS if task.startswith("rotate")}
    still = replace(ROOM, position=unread, contacts=unread)
    assert not any(PREDICATES[task](still, still) for task in rotations)
    for task in TASKS:
        if task.startswith(("push_red", "push_blue", "push_pink", "lift")):
            assert not PREDICATES[task](replace(ROOM, contacts=unread), replace(ROOM, contacts=unread))


def test_an_unknown_task_is_named_with_the_nearest() -> None:
    with pytest.raises(LaminarError, match=r"'open_drawers'.*did you mean 'open_drawer'"):
        succeeded("open_drawers", ROOM, ROOM)
