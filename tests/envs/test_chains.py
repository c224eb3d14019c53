"""The 1,000 chains are CALVIN's to the last task, and their start states too."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import numpy as np
import pytest

from laminar.data.calvin.layout import LAYOUTS, NEUTRAL
from laminar.data.instructions import TASKS
from laminar.envs import chains
from laminar.envs.chains import (
    TASK_ORDER,
    applicable,
    apply,
    draw,
    fnv1_32,
    generate,
    initial_states,
    load_chains,
    outcomes,
    start_state,
)
from laminar.errors import LaminarError

HASH = "13bc4fad80a302e6405e5f4f800cc028789a245409cd12df39b783099ad4860f"  # of CALVIN's own generator
# of the start states that CALVIN itself computes for its 192 initial states, in micrometers and microradians
ALL_STARTS = "182b9b0ba3b39406b240ce60aad5f167aabb355bf8ae6372ee03d1bd5063f186"
FIRST = {
    "led": 0,
    "lightbulb": 0,
    "slider": "right",
    "drawer": "closed",
    "red_block": "table",
    "blue_block": "table",
    "pink_block": "slider_right",
    "grasped": 0,
}


def digest(made: list[chains.Chain]) -> str:
    text = json.dumps([[state, list(tasks)] for state, tasks in made], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_stored_chains_are_calvins() -> None:
    stored = load_chains()
    assert len(stored) == 1000
    assert digest(stored) == HASH
    assert len({tasks for _, tasks in stored}) == 997
    assert set(TASK_ORDER) == set(TASKS)


def test_a_state_draws_the_chains_that_are_stored_for_it() -> None:
    states, stored = initial_states(), load_chains()
    for index, share in ((0, 6), (39, 6), (40, 5), (190, 5)):
        drawn = draw(index, share)
        assert Counter(drawn) == Counter(tasks for state, tasks in stored if state == states[index])
        assert draw(index, 2) == drawn[:2]


@pytest.mark.slow
def test_all_chains_drawn_anew_are_those_stored() -> None:
    assert digest(generate(1000)) == HASH


def test_fewer_chains_are_a_slice() -> None:
    assert load_chains(10) == load_chains()[:10]
    fresh = generate(3)
    assert len(fresh) == 3
    assert fresh != load_chains(3)  # a fresh small draw is another set of chains
    for count in (0, 1001):
        with pytest.raises(LaminarError, match=f"{count} chains.*1 to 1000"):
            load_chains(count)


def test_a_loaded_chain_can_be_changed_without_harm() -> None:
    load_chains(1)[0][0]["led"] = 7
    initial_states()[0]["led"] = 7
    assert load_chains(1)[0][0]["led"] in (0, 1)
    assert initial_states()[0] == FIRST


def test_every_chain_is_possible_in_exactly_one_way() -> None:
    for state, tasks in load_chains():
        assert len(set(tasks)) == 5
        for task in tasks:
            assert task in applicable(state)
            state = apply(state, task)


def test_initial_states() -> None:
    states = initial_states()
    assert len(states) == 192
    assert states[0] == FIRST
    for state in states:
        places = [state[f"{color}_block"] for color in ("red", "blue", "pink")]
        assert places.count("table") in (1, 2)
        assert len(set(places)) == len(places) - (places.count("table") == 2)


def test_a_block_goes_from_the_table_to_the_drawer_and_back_into_the_hand() -> None:
    state = apply(FIRST, "open_drawer")
    assert "close_drawer" in applicable(state)
    assert "open_drawer" not in applicable(state)
    assert "place_in_drawer" not in applicable(state)  # nothing is held
    state = apply(state, "lift_red_block_table")
    assert (state["red_block"], state["grasped"]) == ("grasped", 1)
    assert "turn_on_led" not in applicable(state)  # the hand is full
    state = apply(state, "place_in_drawer")
    assert (state["red_block"], state["grasped"]) == ("drawer", 0)
    assert "lift_red_block_drawer" in applicable(state)
    assert FIRST["red_block"] == "table"


def test_the_door_decides_which_block_can_be_lifted() -> None:
    assert "lift_pink_block_slider" not in applicable(FIRST)
    assert "lift_pink_block_slider" in applicable(apply(FIRST, "move_slider_left"))


def test_only_a_lone_block_is_pushed_into_the_drawer() -> None:
    lone = FIRST | {"drawer": "open", "blue_block": "slider_left"}
    assert apply(lone, "push_into_drawer")["red_block"] == "drawer"
    assert outcomes(lone | {"blue_block": "table"}, "push_into_drawer") == []
    assert outcomes(lone | {"drawer": "closed"}, "push_into_drawer") == []


def test_two_ways_are_one_too_many() -> None:
    state = apply(FIRST, "lift_red_block_table") | {"pink_block": "table"}
    assert [after["blue_block"] for after in outcomes(state, "stack_block")] == ["stacked_bottom", "table"]
    assert "stack_block" not in applicable(state)
    with pytest.raises(LaminarError, match="'stack_block' has 2 outcomes"):
        apply(state, "stack_block")
    with pytest.raises(LaminarError, match="'close_drawer' has 0 outcomes"):
        apply(state, "close_drawer")
    with pytest.raises(LaminarError, match="did you mean 'open_drawer'"):
        apply(state, "open_drawr")


def test_the_hash_of_the_seeds() -> None:
    assert fnv1_32("hello world") == 2805756500
    assert fnv1_32("") == 0


def test_start_states_of_scene_d_are_calvins() -> None:
    robot, scene = start_state(FIRST, LAYOUTS["D"])
    np.testing.assert_array_equal(robot, NEUTRAL)
    assert robot.shape == (15,)
    np.testing.assert_allclose(scene[:6], 0)
    np.testing.assert_allclose(scene[6:12], [0.0500000896, -0.120000177, 0.459990009, 0, 0, 1.5428598030976746])
    np.testing.assert_allclose(scene[12:18], [0.229995412, -0.11999514, 0.45999001, 0, 0, 1.2523419706215095])
    np.testing.assert_allclose(scene[18:], [0.070341633, 0.0924044687, 0.460990009, 0, 0, 1.2303487070177894])
    everywhere = np.array([start_state(state, LAYOUTS["D"])[1] for state in initial_states()])
    micrometers = np.round(everywhere * 1e6).astype("<i8")
    assert hashlib.sha256(micrometers.tobytes()).hexdigest() == ALL_STARTS


def test_the_furniture_stands_as_the_state_says() -> None:
    state = FIRST | {"led": 1, "lightbulb": 1, "slider": "left", "drawer": "open"}
    for layout in LAYOUTS.values():
        _, scene = start_state(state, layout)
        np.testing.assert_allclose(scene[:6], [layout.slide_travel, 0.22, 0, 0.088, 1, 1])


def test_the_order_of_a_states_keys_does_not_matter() -> None:
    shuffled = dict(reversed(FIRST.items()))
    np.testing.assert_array_equal(start_state(shuffled, LAYOUTS["D"])[1], start_state(FIRST, LAYOUTS["D"])[1])


@pytest.mark.parametrize("name", "ABCD")
def test_blocks_start_apart_and_within_the_ranges_of_their_scene(name: str) -> None:
    layout = LAYOUTS[name]
    ranges = {
        "table": layout.table,
        "slider_left": (layout.shelf_left, layout.shelf_y),
        "slider_right": (layout.shelf_right, layout.shelf_y),
    }
    for state in initial_states():
        blocks = start_state(state, layout)[1][6:].reshape(3, 6)
        for color, (x, y, z, roll, pitch, yaw) in zip(("red", "blue", "pink"), blocks, strict=True):
            (left, right), (near, far) = ranges[str(state[f"{color}_block"])]
            assert left < x < right
            assert near < y < far
            assert z == pytest.approx(0.46, abs=0.002)
            assert (roll, pitch) == (0, 0)
            assert abs(yaw - np.pi / 2) <= np.pi / 8
        assert all(np.hypot(*(a - b)[:2]) > 0.15 for a, b in ((blocks[i], blocks[i - 1]) for i in range(3)))


def test_no_chain_starts_in_the_middle() -> None:
    with pytest.raises(LaminarError, match=r"no chain starts in state .*'grasped': 1"):
        start_state(apply(FIRST, "lift_red_block_table"), LAYOUTS["D"])
