"""What an environment with instructions offers, and what both rooms share."""

from __future__ import annotations

import numpy as np
import pytest

from laminar.envs import make_env
from laminar.envs.playroom.attempt import Attempt, checked_action, start_options
from laminar.envs.playroom.env import Playroom
from laminar.envs.room import Room, as_room
from laminar.errors import LaminarError


def test_the_playroom_is_a_room_and_hopper_is_none() -> None:
    env = make_env("laminar/Playroom-v0?instruction=task")
    room = as_room(env)
    assert room is env.unwrapped
    assert room is not None
    for name in Room.__annotations__:
        assert hasattr(room, name), name
    env.reset(seed=0)
    np.testing.assert_array_equal(room.begin("open_drawer")["instruction"].sum(), 1.0)
    env.close()
    assert as_room(make_env("Hopper-v4")) is None


def test_success_counts_from_the_last_begin() -> None:
    attempt: Attempt[str] = Attempt("here", "D", "open_drawer", None, "relative", None)
    assert attempt.max_steps == 240
    attempt.restart("first")
    assert attempt.book(["close_drawer"]) == (0.0, False, False, {"completed": ("close_drawer",), "success": False})
    assert attempt.book(["close_drawer", "open_drawer"])[1] is True
    attempt.begin("close_drawer", "second")
    assert attempt.start == "second"
    reward, terminated, _, info = attempt.book(["close_drawer"])
    assert (reward, info) == (1.0, {"completed": ("close_drawer",), "success": True})
    assert not terminated, "only the episode's own task ends it"
    attempt.restart("third")
    assert attempt.book(["close_drawer"])[3]["success"] is False


def test_an_episode_s_limit_counts_its_steps_not_those_of_a_task() -> None:
    attempt: Attempt[None] = Attempt("here", "D", None, None, "relative", 3)
    attempt.restart(None)
    assert [attempt.book([])[2] for _ in range(2)] == [False, False]
    attempt.begin("open_drawer", None)
    assert attempt.book([])[1:3] == (False, True)
    attempt.restart(None)
    assert attempt.book([])[2] is False


def test_the_end_of_a_task_at_the_limit_is_no_truncation() -> None:
    attempt: Attempt[None] = Attempt("here", "D", "open_drawer", None, "relative", 1)
    attempt.restart(None)
    assert attempt.book(["open_drawer"])[:3] == (1.0, True, False)


def test_the_instruction_is_zero_until_a_task_begins() -> None:
    attempt: Attempt[None] = Attempt("here", "D", None, "task", "relative", None)
    attempt.restart(None)
    assert attempt.told()["instruction"].dtype == np.float32
    assert not attempt.told()["instruction"].any()
    attempt.begin("open_drawer", None)
    assert attempt.told()["instruction"].sum() == 1.0
    assert Attempt("here", "D", None, None, "relative", None).told() == {}


def test_what_a_room_refuses() -> None:
    for scene, task, action in (("E", None, "relative"), ("D", "open_drawr", "relative"), ("D", None, "joints")):
        with pytest.raises(LaminarError, match="here has no"):
            Attempt("here", scene, task, None, action, None)
    with pytest.raises(LaminarError, match=r"an action of here is 7 finite numbers"):
        checked_action("here", np.full(7, np.inf))
    with pytest.raises(LaminarError, match=r"got \['robot'\]"):
        start_options({"robot": 1, "scene_obs": 2})
    assert start_options({"scene_obs": 2}) == (None, 2)
    assert start_options(None) == (None, None)


def test_the_playroom_s_members_are_those_of_its_attempt() -> None:
    env = Playroom(scene="A", task="open_drawer", instruction="hashed", max_steps=5)
    assert (env.layout.scene, env.task, env.max_steps, env.action_unit) == ("A", "open_drawer", 5, "relative")
    assert env.observation_units == {"scene_obs": "scene A", "instruction": "hashed"}
    env.close()
