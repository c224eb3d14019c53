"""Experts for drawer, sliding door, switch and button."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from laminar.envs.playroom.disturbance import Disturbance
from laminar.envs.playroom.env import Playroom
from laminar.envs.playroom.experts import script
from laminar.envs.playroom.experts.doors import SCRIPTS
from laminar.envs.playroom.experts.hand import CLOSED, OPEN, Hand
from laminar.errors import LaminarError

SCENES, DEEPEST = "ABCD", 0.005  # meters of penetration


def attempt(env: Playroom, seed: int) -> tuple[bool, float]:
    """Return whether the disturbed expert succeeded, and the deepest penetration on the way in meters."""
    env.reset(seed=seed)
    random = np.random.default_rng([seed, 1])
    disturbance, deepest = Disturbance(random, shoves=True), 0.0
    for action in script(str(env.task), Hand(env.room, random)):
        _, _, terminated, truncated, _ = env.step(disturbance.disturb(action))
        deepest = max(deepest, -min(env.data.contact.dist[: env.data.ncon], default=0.0))
        if terminated or truncated:
            return terminated, deepest
    return False, deepest


@pytest.mark.parametrize("task", SCRIPTS)
def test_experts_succeed_although_they_are_shoved(task: str) -> None:
    for scene in SCENES:
        outcomes = [attempt(Playroom(scene, task), seed) for seed in range(200, 203)]
        assert [success for success, _ in outcomes] == [True] * 3, scene
        assert max(depth for _, depth in outcomes) < DEEPEST, scene


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("task", SCRIPTS)
def test_experts_succeed_in_at_least_95_of_100_episodes(task: str, scene: str) -> None:
    env = Playroom(scene, task)
    outcomes = [attempt(env, seed) for seed in range(100)]
    assert sum(success for success, _ in outcomes) >= 95
    assert max(depth for _, depth in outcomes) < DEEPEST


def undisturbed(task: str, seed: int, shove: Callable[[int], np.ndarray | None] = lambda step: None) -> Playroom:
    """Run an expert to its own end; `shove` may replace the action of a step."""
    env = Playroom("D", task)
    env.reset(seed=seed)
    for step, action in enumerate(script(task, Hand(env.room, np.random.default_rng(seed)))):
        shoved = shove(step)
        env.step(action if shoved is None else shoved)
    return env


@pytest.mark.parametrize(
    ("task", "index", "end"),
    [
        ("open_drawer", 1, 0.22),
        ("close_drawer", 1, 0.0),
        ("move_slider_left", 0, 0.28),
        ("move_slider_right", 0, 0.0),
        ("turn_on_lightbulb", 3, 0.088),
        ("turn_off_lightbulb", 3, 0.0),
    ],
)
def test_motions_go_on_to_the_end_of_the_travel(task: str, index: int, end: float) -> None:
    tolerance = 0.07 if task == "close_drawer" else 0.02  # one way to push it ends before the table
    for seed in range(3):
        assert undisturbed(task, seed).room.scene_obs()[index] == pytest.approx(end, abs=tolerance)


def test_the_button_is_pressed_once_and_let_go() -> None:
    env = undisturbed("turn_on_led", 0)
    assert env.room.led
    assert env.room.scene_obs()[2] < 0.002


def test_a_hand_that_is_torn_off_the_bar_comes_back() -> None:
    away = np.array([0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    reached = [undisturbed("open_drawer", seed, lambda step: away if 25 <= step < 37 else None) for seed in range(3)]
    assert [env.room.scene_obs()[1] > 0.2 for env in reached] == [True] * 3


@pytest.mark.parametrize("task", ["open_drawer", "move_slider_left", "turn_on_lightbulb"])
def test_both_gripping_and_pushing_occur(task: str) -> None:
    env, first = Playroom("D", task), []
    for seed in range(12):
        env.reset(seed=seed)
        first.append(next(script(task, Hand(env.room, np.random.default_rng(seed))))[6])
    assert set(first) == {OPEN, CLOSED}


def test_actions_depend_on_the_measured_state_alone() -> None:
    """Two rooms in one state, one of which was commanded elsewhere, get one action."""
    env = Playroom("D", "open_drawer")
    env.reset(seed=0)
    plain = next(script("open_drawer", Hand(env.room, np.random.default_rng(0))))
    env.room.target_position += 0.03
    np.testing.assert_array_equal(next(script("open_drawer", Hand(env.room, np.random.default_rng(0)))), plain)


def test_nothing_is_done_where_nothing_is_left_to_do() -> None:
    env = Playroom("D", "close_drawer")
    env.reset(seed=0)
    assert list(script("open_drawer", Hand(env.room, np.random.default_rng(0)))) == []


def test_an_unknown_task_is_refused() -> None:
    env = Playroom("D")
    env.reset(seed=0)
    with pytest.raises(
        LaminarError, match=r"no expert of the playroom knows task 'open_draw'.*did you mean 'open_drawer'"
    ):
        script("open_draw", Hand(env.room, np.random.default_rng(0)))
