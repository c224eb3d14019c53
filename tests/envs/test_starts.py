"""Random starts: the task is possible and not done, nothing touches what it should not, and all is at rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from laminar.data.calvin.layout import COLORS, LAYOUTS
from laminar.data.instructions import TASKS
from laminar.envs.playroom.env import Playroom
from laminar.envs.playroom.snapshot import Link, Snapshot
from laminar.envs.playroom.starts import sample_start
from laminar.envs.playroom.tasks import LIFT, completed
from laminar.errors import LaminarError

TABLE: Link = ("table", "base_link")
DEEP, FAST = 0.001, 0.02  # meters; m/s and rad/s


def bodies(links: frozenset[Link]) -> set[str]:
    return {body for body, _ in links}


def allows(task: str, start: Snapshot) -> bool:
    """Return whether a task can succeed from a start."""
    blocks, robot = start.contacts, bodies(start.robot_contacts)
    match task.split("_"):
        case ["lift", color, _, place]:
            return blocks[color] == {("table", LIFT[place][0])}
        case ["push" | "rotate", color, _, _]:
            return blocks[color] == {TABLE}
        case ["push", "into", "drawer"]:
            return start.drawer > 0.2 and any(blocks[color] == {TABLE} for color in COLORS)
        case ["stack", _]:
            return sum(blocks[color] == {TABLE} for color in COLORS) >= 2
        case ["unstack", _]:
            return any(bodies(blocks[color]) and bodies(blocks[color]) <= set(COLORS) for color in COLORS)
        case ["place", "in", where]:
            alone = len(robot) == 1 and bodies(blocks[next(iter(robot))]) == {"robot"}
            return alone and (where == "slider" or start.drawer > 0.2)
        case _:
            return True


def check_starts(scene: str, seeds: range) -> None:
    env = Playroom(scene)
    for task in (None, *TASKS):
        env.task = task
        for seed in seeds:
            env.reset(seed=seed)
            where, start = (scene, task, seed), env.room.snapshot()
            assert min(env.data.contact.dist, default=0.0) > -DEEP, where
            holding = (task or "").startswith("place")
            assert holding or not start.robot_contacts, where
            assert task is None or (allows(task, start) and task not in completed(start, start)), where
            env.step([0.0] * 6 + [-1.0 if holding else 1.0])
            now = env.room.snapshot()
            assert max(np.abs(now.velocity[color]).max() for color in COLORS) < FAST, where
            assert all(now.contacts[color] == start.contacts[color] for color in COLORS), where


@pytest.mark.parametrize("scene", LAYOUTS)
def test_starts_are_possible_and_at_rest(scene: str) -> None:
    check_starts(scene, range(2))


@pytest.mark.slow
@pytest.mark.parametrize("scene", LAYOUTS)
def test_all_of_300_starts_are_possible_and_at_rest(scene: str) -> None:
    check_starts(scene, range(300))


@pytest.mark.parametrize("task", ["place_in_slider", "place_in_drawer"])
def test_a_held_block_stays_between_the_fingers(task: str) -> None:
    env = Playroom("A", task)
    for seed in range(6):
        env.reset(seed=seed)
        (color,) = bodies(env.room.snapshot().robot_contacts)
        for _ in range(60):
            env.step([0.0] * 6 + [-1.0])
        now = env.room.snapshot()
        assert np.linalg.norm(now.position[color] - env.room.tcp()[0]) < 0.003, seed
        assert bodies(now.contacts[color]) == {"robot"}, seed


@pytest.mark.parametrize("scene", LAYOUTS)
def test_blocks_keep_a_distance_and_lie_on_one_surface(scene: str) -> None:
    layout = LAYOUTS[scene]
    for seed in range(100):
        start = sample_start(layout, None, np.random.default_rng(seed))
        places = list(start.blocks.values())
        for index, place in enumerate(places):
            assert all(np.linalg.norm(place[:2] - other[:2]) >= 0.095 for other in places[:index])
        for color, (x, y, _, _) in start.blocks.items():
            corner = np.hypot(layout.blocks[color], 0.04) / 2
            if y < 0.0:
                assert y - corner > -0.18  # the table's front edge
                assert layout.table[0][0] <= x <= layout.table[0][1]
            else:
                assert abs(x - layout.plank[0]) + 0.04 <= 0.26  # the shelf's half length


def test_starts_vary_and_repeat() -> None:
    def draw(seed: int) -> Any:
        start = sample_start(LAYOUTS["D"], "lift_red_block_slider", np.random.default_rng(seed))
        return np.concatenate([start.scene_obs(), start.offset])

    assert np.array_equal(draw(3), draw(3))
    assert len({tuple(draw(seed)) for seed in range(20)}) == 20


def test_a_table_without_room_is_an_error() -> None:
    tight = replace(LAYOUTS["D"], table=((0.0, 0.01), (-0.10, -0.09)))
    with pytest.raises(LaminarError, match="no room for a further block on the table of scene D"):
        sample_start(tight, "stack_block", np.random.default_rng(0))
