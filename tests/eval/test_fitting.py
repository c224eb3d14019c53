"""Environments made for one policy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from laminar.data.spec import Feature, Spec
from laminar.envs.fitting import fit_env, place
from laminar.envs.make import env_spec, make_env
from laminar.envs.slots import Slots
from laminar.errors import LaminarError
from laminar.eval.results.pair import compare_results
from laminar.eval.results.result import Episode, Result
from laminar.eval.rollouts import episodes as rollout

ROOM = "laminar/Playroom-v0"


def spec_of(env_id: str) -> Spec:
    env = make_env(env_id)
    try:
        return env_spec(env)
    finally:
        env.close()


def fitted(env_id: str, wanted: Spec) -> tuple[str, Spec]:
    found = fit_env(env_id, wanted)
    found.env.close()
    return found.env_id, found.spec


@pytest.fixture(scope="module")
def states() -> Spec:
    return spec_of(ROOM)


def test_a_policy_may_see_a_part_of_a_room(states: Spec) -> None:
    blind = replace(states, observation={"robot_obs": states.observation["robot_obs"]})
    assert fitted(ROOM, blind) == (ROOM, blind)
    assert list(fitted(f"{ROOM}?instruction=task", blind)[1].observation) == ["robot_obs"]
    with pytest.raises(LaminarError, match="needs observation 'force', which environment"):
        fit_env(ROOM, replace(states, observation={"force": Feature((3,))}))


def test_a_room_is_asked_for_what_a_policy_sees_and_does(states: Spec) -> None:
    pictures = {key: Feature((size, size, 3), "uint8") for key, size in (("rgb_static", 200), ("rgb_gripper", 84))}
    told = {"instruction": Feature((34,), unit="task")}
    wanted = replace(states, observation=states.observation | told | pictures)
    assert fitted(f"{ROOM}?scene=D", wanted)[0] == f"{ROOM}?scene=D&instruction=task&cameras=true"
    small = replace(wanted, observation=wanted.observation | {"rgb_static": Feature((80, 80, 3), "uint8")})
    assert fitted(f"{ROOM}?scene=D", small)[0] == f"{ROOM}?scene=D&instruction=task&cameras=true&static_size=80"
    with pytest.raises(LaminarError, match="needs observation 'rgb_static'"):
        fit_env(f"{ROOM}?cameras=false", wanted)


def test_kinds_of_actions_are_not_mixed_up(states: Spec) -> None:
    assert states.action.unit == "relative"
    absolute = replace(states, action=replace(states.action, unit="absolute"))
    assert fitted(ROOM, absolute)[0] == f"{ROOM}?action=absolute"
    for policy, kind in ((absolute, "relative"), (states, "absolute")):
        with pytest.raises(LaminarError, match=f"action is '{policy.action.unit}' for the policy but '{kind}'"):
            fit_env(f"{ROOM}?action={kind}", policy)


def test_policies_with_different_embeddings_are_compared_in_the_same_room() -> None:
    results = [
        Result(f"{ROOM}?task=open_drawer&instruction={name}", [Episode(seed, 0.0, 1, True) for seed in range(6)])
        for name in ("task", "hashed")
    ]
    assert compare_results(*results).success_difference is not None
    other = Result(f"{ROOM}?task=close_drawer&instruction=task", results[0].episodes)
    with pytest.raises(LaminarError, match=r"in 'laminar/Playroom-v0\?task=open_drawer.*evaluate both in one"):
        compare_results(results[0], other)
    assert place(f"{ROOM}?scene=A&action=absolute&cameras=true") == (ROOM, {"scene": "A"})


@pytest.mark.parametrize(("query", "ends"), [("", False), ("?scene=A", False), ("?max_steps=2", True)])
def test_an_episode_that_never_ends_is_refused(query: str, ends: bool) -> None:
    env = make_env(ROOM + query)
    if ends:
        rollout.check_ends(ROOM + query, env)
    else:
        with pytest.raises(LaminarError, match=r"never ends: choose a task \('.*[?&]task=open_drawer'\)"):
            rollout.check_ends(ROOM + query, env)
    env.close()


MAZE = "maze2d-umaze-v1"


def test_what_an_environment_shows_on_request_is_shown_to_who_was_trained_with_it() -> None:
    told = spec_of("laminar/Maze2d-v0?maze=umaze")
    plain = spec_of(MAZE)
    assert fitted(MAZE, plain) == (MAZE, plain)
    found = fit_env(MAZE, told)
    assert (found.env_id, found.spec, found.unseen) == (MAZE, told, ())
    for env in (found.env, found.another()):
        shown, _ = env.reset(seed=3)
        bare, _ = make_env(MAZE).reset(seed=3)
        np.testing.assert_array_equal(shown["observation"], bare)
        np.testing.assert_array_equal(shown["goal"], env.get_wrapper_attr("goal"))
        assert env.observation_space.contains(shown)
        stepped, *_ = env.step(np.ones(2, np.float32))
        assert not np.array_equal(stepped["observation"], shown["observation"])
        np.testing.assert_array_equal(stepped["goal"], shown["goal"])
        env.close()
    more = replace(told, observation=told.observation | {"lidar": Feature((8,))})
    with pytest.raises(LaminarError, match="needs observation 'lidar', which environment 'maze2d-umaze-v1'"):
        fit_env(MAZE, more)
    wide = replace(told, observation=told.observation | {"goal": Feature((3,))})
    with pytest.raises(LaminarError, match="goal"):
        fit_env(MAZE, wide)


def test_every_slot_shows_what_was_asked_for() -> None:
    told = spec_of("laminar/Maze2d-v0?maze=umaze")
    world = Slots(MAZE, told, 2)
    seen = {key: rows.copy() for key, rows in world.reset({0: 5, 1: 6}).items()}
    world.close()
    alone = Slots("laminar/Maze2d-v0?maze=umaze", told, 2)
    for key, rows in alone.reset({0: 5, 1: 6}).items():
        np.testing.assert_array_equal(rows, seen[key])
    alone.close()
