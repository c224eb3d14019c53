"""CALVIN's own predicates on scripted motions in its own simulator: every one of the 34 fires."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from laminar.data.calvin.layout import COLORS, NEUTRAL
from laminar.data.instructions import TASKS
from laminar.envs.calvin import Calvin
from laminar.envs.calvin_install import calvin_problem

INSTALLED = not calvin_problem() and find_spec("pybullet") is not None
genuine = pytest.mark.skipif(not INSTALLED, reason="needs CALVIN's own simulator; `laminar doctor` says how to get it")

Point = tuple[float, float, float, float]  # x, y, z of the gripper in meters, its turn in radians
Script = list[Point | float | str]  # where to go, a gripper command (1 open, -1 shut), or a task that begins there
OPEN, SHUT = 1.0, -1.0
SPOT = (0.12, -0.09)  # of the block in question, on the table
SHELF, SIDE = (-0.24, 0.09, 0.46), (0.28, -0.07, 0.46)  # where the others are out of the way


def scene(slider: float = 0, drawer: float = 0, switch: float = 0, led: float = 0, **blocks: Any) -> np.ndarray:
    """Return a scene_obs; blocks that are not named are put away."""
    away = [SHELF, SIDE, (-0.05, -0.07, 0.46)]
    poses = [[*(blocks.get(color) or away.pop()), 0, 0, np.pi / 2] for color in COLORS]
    return np.concatenate([[slider, drawer, 0, switch, float(switch > 0.044), led], *poses])


def grasp(x: float, y: float, z: float, above: float = 0.10) -> Script:
    return [OPEN, (x, y, z + above, 0), (x, y, z, 0), SHUT]


def fixtures() -> Iterator[tuple[str, np.ndarray, Script]]:
    """Doors, button and switch of scene D, with the fingers shut."""
    yield "open_drawer", scene(), [(0.18, -0.21, 0.50, 0), (0.18, -0.21, 0.37, 0), (0.18, -0.40, 0.37, 0)]
    yield "close_drawer", scene(drawer=0.22), [(0.18, -0.56, 0.45, 0), (0.18, -0.56, 0.37, 0), (0.18, -0.30, 0.37, 0)]
    press: Script = [(-0.12, -0.12, 0.54, 0), (-0.12, -0.12, 0.46, 0), (-0.12, -0.12, 0.54, 0)]
    yield "turn_on_led", scene(), press
    yield "turn_off_led", scene(led=1), press
    free = (0.30, -0.05, 0.46)
    left: Script = [(0.12, -0.06, 0.56, 0), (0.12, 0.01, 0.52, 0), (-0.20, 0.01, 0.52, 0)]
    yield "move_slider_left", scene(pink=free), left
    right: Script = [(-0.36, -0.06, 0.56, 0), (-0.34, 0.01, 0.52, 0), (-0.02, 0.01, 0.52, 0)]
    yield "move_slider_right", scene(slider=0.28, pink=free), right
    up: Script = [(0.30, -0.05, 0.60, 0), (0.30, -0.05, 0.49, 0), (0.30, 0.02, 0.49, 0), (0.30, 0.10, 0.56, 0)]
    yield "turn_on_lightbulb", scene(), up
    down: Script = [(0.30, -0.05, 0.66, 0), (0.30, 0.05, 0.66, 0), (0.30, 0.05, 0.52, 0), (0.30, 0.05, 0.42, 0)]
    yield "turn_off_lightbulb", scene(switch=0.088), down


def single_blocks() -> Iterator[tuple[str, np.ndarray, Script]]:
    """What is done to one block, for each color."""
    x, y = SPOT
    for color in COLORS:
        table = scene(**{color: (*SPOT, 0.46)})
        for side, sign in (("right", -1), ("left", 1)):
            turn = sign * 1.35
            turned: Script = [(x, y, 0.455, turn), OPEN, (x, y, 0.56, turn)]
            yield f"rotate_{color}_block_{side}", table, [*grasp(x, y, 0.455), *turned]
            near, far = x + sign * 0.08, x - sign * 0.11
            push: Script = [(near, y, 0.55, 0), (near, y, 0.46, 0), (far, y, 0.46, 0)]
            yield f"push_{color}_block_{side}", table, push
        yield f"lift_{color}_block_table", table, [*grasp(x, y, 0.46), (x, y, 0.57, 0)]
        shelf = scene(slider=0.28, **{color: (0.06, 0.09, 0.46)})
        around: Point = (0.06, -0.05, 0.60, 0)
        yield f"lift_{color}_block_slider", shelf, [OPEN, around, *grasp(0.06, 0.09, 0.46, 0.12), (0.06, 0.06, 0.54, 0)]
        drawer = scene(drawer=0.22, **{color: (0.18, -0.27, 0.361)})
        yield f"lift_{color}_block_drawer", drawer, [*grasp(0.18, -0.27, 0.361, 0.14), (0.18, -0.27, 0.50, 0)]


def arrangements() -> Iterator[tuple[str, np.ndarray, Script]]:
    """What puts a block somewhere else; some tasks begin with the block in the hand."""
    red, lifted = (0.05, -0.10, 0.46), (0.05, -0.10, 0.60, 0)
    hold: Script = [*grasp(*red), lifted]
    away = {"red": red, "blue": SIDE, "pink": SHELF}
    into: Script = [(0.18, -0.28, 0.60, 0), "place_in_drawer", (0.18, -0.28, 0.40, 0), OPEN, (0.18, -0.28, 0.55, 0)]
    yield "place_in_drawer", scene(drawer=0.22, **away), [*hold, *into]
    reach: Script = [(-0.24, -0.05, 0.60, 0), (-0.24, 0.07, 0.56, 0), "place_in_slider"]
    leave: Script = [(-0.24, 0.07, 0.47, 0), OPEN, (-0.24, -0.03, 0.60, 0)]
    yield "place_in_slider", scene(**away | {"pink": (0.20, -0.12, 0.46)}), [*hold, *reach, *leave]
    x, y, _ = SIDE
    yield "stack_block", scene(**away), [*hold, (x, y, 0.60, 0), (x, y, 0.505, 0), OPEN, (x, y, 0.62, 0)]
    yield "unstack_block", scene(**away | {"red": (x, y, 0.50)}), [*grasp(x, y, 0.50), (x, y, 0.60, 0)]
    shove: Script = [(0.18, -0.03, 0.56, 0), (0.18, -0.03, 0.46, 0), (0.18, -0.19, 0.46, 0), (0.18, -0.12, 0.56, 0)]
    edge = away | {"red": (0.18, -0.12, 0.46), "blue": (0.05, -0.07, 0.46)}
    yield "push_into_drawer", scene(drawer=0.22, **edge), shove


MOTIONS = {task: (start, script) for task, start, script in (*fixtures(), *single_blocks(), *arrangements())}


def play(env: Calvin, script: Script) -> set[str]:
    """Follow a script with relative actions; return the tasks completed since the last one that began."""
    target = np.array(NEUTRAL[:6])
    gripper, seen = SHUT, set[str]()
    scale = np.array([0.02] * 3 + [0.05] * 3)
    for entry in script:
        if isinstance(entry, str):
            env.begin(entry)
            seen = set()
            continue
        pause = 3  # for the arm to arrive
        if isinstance(entry, float):
            gripper, goal, pause = entry, target, 8
        else:
            goal = np.array([*entry[:3], *NEUTRAL[3:5], NEUTRAL[5] + entry[3]])
        steps = int(np.ceil((np.abs(goal - target) / scale).max()))
        for _ in range(steps + pause):
            move = np.clip((goal - target) / scale, -1, 1)
            target = target + move * scale
            seen |= set(env.step(np.array([*move, gripper]))[4]["completed"])
    return seen


@pytest.fixture(scope="module")
def room() -> Iterator[Calvin]:
    env = Calvin(scene="D")
    yield env
    env.close()


def test_there_is_a_motion_for_every_task() -> None:
    assert set(MOTIONS) == set(TASKS)


@genuine
@pytest.mark.parametrize("task", TASKS)
def test_the_predicate_fires_on_its_motion(room: Calvin, task: str) -> None:
    start, script = MOTIONS[task]
    room.reset(options={"robot_obs": np.array(NEUTRAL), "scene_obs": start})
    room.begin(task)
    seen = play(room, script)
    assert task in seen
    assert set(room.achieved) == seen


@genuine
@pytest.mark.parametrize("task", TASKS)
def test_the_predicate_does_not_fire_when_nothing_is_done(room: Calvin, task: str) -> None:
    room.reset(options={"robot_obs": np.array(NEUTRAL), "scene_obs": MOTIONS[task][0]})
    room.begin(task)
    for _ in range(10):
        _, reward, _, _, info = room.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
        assert (reward, info["success"], info["completed"]) == (0.0, False, ())


@genuine
def test_success_pays_and_ends_the_episode() -> None:
    env = Calvin(task="turn_on_led")
    start, _ = MOTIONS["turn_on_led"]
    env.reset(options={"robot_obs": np.array(NEUTRAL), "scene_obs": start})
    target, down = np.array(NEUTRAL[:3]), np.array([-0.12, -0.12, 0.45])
    for _ in range(30):
        move = np.clip((down - target) / 0.02, -1, 1)
        target = target + 0.02 * move
        _, reward, terminated, truncated, info = env.step(np.array([*move, 0, 0, 0, -1.0]))
        if terminated:
            break
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert info["completed"] == ("turn_on_led",)
    env.close()
