"""Goals in the playroom: how a room shows them, and which its scripted experts reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from laminar.data.calvin.room import room_obs
from laminar.data.spec import Feature, Spec
from laminar.envs import make_env
from laminar.envs.fitting import fit_env
from laminar.envs.playroom.attempt import ACTION_NAMES
from laminar.envs.playroom.env import Playroom
from laminar.envs.room import reached_by_expert
from laminar.envs.slots import Slots
from laminar.errors import LaminarError

WANTED = Spec(
    {
        "robot_obs": Feature((15,)),
        "room_obs": Feature((42,)),
        "instruction": Feature((34,), unit="task"),
        "goal": Feature((42,), unit="room_obs"),
    },
    Feature((7,), unit="relative", names=ACTION_NAMES),
    rate_hz=30.0,
)


def test_a_room_shows_the_goal_that_it_is_told_and_zeros_else() -> None:
    world = Slots("laminar/Playroom-v0?scene=D", WANTED, 2)
    assert world.env_id.endswith("goal=room_obs")
    assert world.spec.observation["goal"].unit == "room_obs"
    assert not world.reset({0: 0, 1: 1})["goal"].any()
    wanted = np.linspace(0, 1, 42)
    shown = world.begin({0: "open_drawer", 1: "open_drawer"}, goals={0: wanted, 1: np.zeros(42)})
    np.testing.assert_allclose(shown["goal"], np.stack([wanted, np.zeros(42)]), rtol=1e-6)
    assert not shown["instruction"].any(), "a goal tells it in place of an instruction"
    world.step(np.zeros((2, 1, 7), np.float32))
    np.testing.assert_allclose(world.observations["goal"][0], wanted, rtol=1e-6)
    shown = world.begin({0: "open_drawer"})
    assert shown["instruction"][0].sum() == 1
    assert not shown["goal"].any()
    world.begin({1: "open_drawer"}, goals={1: wanted})
    assert not world.reset({1: 3})["goal"].any(), "an episode begins without one"
    with pytest.raises(LaminarError, match=r"the goal must be 42 finite numbers, got shape \(24,\)"):
        world.begin({0: "open_drawer"}, goals={0: np.zeros(24)})
    world.close()


def test_a_room_without_goals_takes_none() -> None:
    room = Playroom()
    room.reset(seed=0)
    assert "goal" not in room.observation_space
    with pytest.raises(LaminarError, match="the playroom shows no goals; make it with goal=room_obs"):
        room.begin("open_drawer", goal=np.zeros(24))
    with pytest.raises(LaminarError, match="the playroom shows no goals"):
        reached_by_expert(room, "open_drawer", [0])
    with pytest.raises(LaminarError, match=r"has no goal 'robot_obs' \(known: scene_obs, room_obs\)"):
        make_env("laminar/Playroom-v0?goal=robot_obs")


@pytest.mark.parametrize("kind", ["room_obs", "scene_obs"])
def test_an_expert_reaches_a_goal_without_a_trace(kind: str) -> None:
    def played(asked: bool) -> tuple[Any, list[Any]]:
        room = Playroom(goal=kind)
        room.reset(seed=3)
        actions, goals, seen = np.random.default_rng(0).uniform(-1, 1, (24, 7)), [], []
        for number, action in enumerate(actions):
            if asked and number % 8 == 0:
                goals.append(reached_by_expert(room, "open_drawer", [number]))
            observation, *_ = room.step(action)
            seen.append(np.concatenate([observation["robot_obs"], observation["scene_obs"]]))
        shining = [room.model.geom_rgba.copy()]
        return goals, [*seen, *shining]

    (_, alone), (goals, beside) = played(False), played(True)
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(goal[1] - alone[0][15 + 1] > 0.12 for goal in goals), "the drawer is open"
    assert goals[0].shape == ((42,) if kind == "room_obs" else (24,))
    if kind == "room_obs":
        np.testing.assert_array_equal(goals[0], room_obs(goals[0][:24], Playroom().layout))


def test_lights_and_all_else_are_as_they_were() -> None:
    """The bulb shines on the way of the expert, and not afterwards."""
    room = Playroom(goal="scene_obs", task="turn_on_lightbulb")
    observation, _ = room.reset(seed=1)
    before = observation["scene_obs"]
    colors = room.model.geom_rgba.copy()
    goal = reached_by_expert(room, "turn_on_lightbulb", [1])
    assert goal is not None
    assert (before[4], goal[4]) == (0, 1)
    np.testing.assert_array_equal(room.model.geom_rgba, colors)
    np.testing.assert_array_equal(room.begin("turn_on_lightbulb", goal=goal)["scene_obs"], before)
    again = reached_by_expert(room, "turn_on_lightbulb", [1])
    np.testing.assert_array_equal(again, goal)


def test_an_expert_that_cannot_do_it_reaches_none() -> None:
    room = Playroom(goal="scene_obs")
    observation, _ = room.reset(seed=0)
    done = observation["scene_obs"].copy()
    done[1] = 0.22
    room.reset(seed=0, options={"scene_obs": done})
    assert reached_by_expert(room, "open_drawer", [0]) is None, "it is open"


def test_a_policy_that_knows_no_goals_is_not_asked_for_any() -> None:
    seen = {key: one for key, one in WANTED.observation.items() if key != "goal"}
    fitted = fit_env("laminar/Playroom-v0?scene=D", Spec(seen, WANTED.action, rate_hz=30.0))
    assert "goal" not in fitted.env_id
    fitted.env.close()
