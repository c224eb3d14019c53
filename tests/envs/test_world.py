"""The contract of a world, kept by the slots of this process and by those over workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from laminar.data.spec import Spec
from laminar.envs.slots import Slots
from laminar.envs.workers import WorkerSlots
from laminar.envs.world import Outcome, World
from laminar.errors import LaminarError

SpecOf = Callable[..., Spec]
Maker = Callable[..., Any]
ENV_ID = "user/Count-v0"


def in_process(env_id: str, wanted: Spec, count: int) -> Slots:
    return Slots(env_id, wanted, count)


def over_workers(env_id: str, wanted: Spec, count: int) -> WorkerSlots:
    return WorkerSlots(env_id, wanted, count, processes=2)


BUILDERS = [in_process, over_workers]


@pytest.fixture(params=BUILDERS, scope="module")
def shared(request: pytest.FixtureRequest, registered: ModuleType, spec_of: SpecOf) -> Iterator[World]:
    """Return a world of three slots."""
    world = request.param(ENV_ID, spec_of(ENV_ID), 3)
    yield world
    world.close()


@pytest.fixture
def begun(shared: World) -> Maker:
    """Return a function that begins episodes with some options in all slots, with their numbers as seeds."""

    def begin(**options: int) -> World:
        shared.reset({slot: slot for slot in range(3)}, {slot: options for slot in range(3)})
        return shared

    return begin


@pytest.fixture
def make(registered: ModuleType, spec_of: SpecOf) -> Iterator[Maker]:
    """Return a function that makes a world of its own, which the test need not close."""
    made: list[World] = []

    def world(query: str = "", count: int = 3, build: Maker = in_process) -> World:
        env_id = f"{ENV_ID}?{query}" if query else ENV_ID
        made.append(build(env_id, spec_of(env_id), count))
        return made[-1]

    yield world
    for world in made:
        world.close()


def adding(*values: float, length: int) -> np.ndarray:
    """Return chunks (B, length, 1) that add one value a slot and step."""
    return np.repeat(np.array(values, np.float32)[:, None, None], length, axis=1)


def figures(outcome: Outcome) -> dict[str, Any]:
    shown = {f"observation/{key}": rows.tolist() for key, rows in outcome.observation.items()}
    rest = [field.name for field in fields(outcome) if field.name != "observation"]
    return shown | {name: np.nan_to_num(getattr(outcome, name), nan=-1.0).tolist() for name in rest}


def test_a_chunk_stops_where_the_episode_ends(begun: Maker) -> None:
    world = begun(terminal=3)
    outcome = world.step(adding(0.5, 0.25, 1.0, length=8))
    assert outcome.steps.tolist() == [3, 3, 3]
    assert outcome.observation["observation"][:, 0].tolist() == [3, 3, 3], "and goes on no further"
    assert outcome.terminated.tolist() == [True] * 3
    assert outcome.ended.tolist() == [True] * 3


def test_rewards_are_summed_over_the_executed_steps(begun: Maker) -> None:
    world = begun(terminal=5)
    chunks = np.array([[[0.5], [0.25], [1.0]]] * 3)
    outcome = world.step(chunks)
    assert outcome.reward.tolist() == [1.75] * 3
    assert outcome.reward.dtype == np.float64
    assert world.step(chunks).reward.tolist() == [0.75] * 3, "only of the two steps that were left"


def test_steps_are_control_steps(begun: Maker) -> None:
    world = begun(terminal=10)
    assert [world.step(adding(0, 0, 0, length=4)).steps.tolist()[0] for _ in range(3)] == [4, 4, 2]


@pytest.mark.parametrize(
    ("options", "terminated", "truncated"),
    [
        ({"limit": 2}, False, True),
        ({"terminal": 2}, True, False),
        ({"limit": 2, "terminal": 2}, True, False),
        ({}, False, False),
    ],
)
def test_a_time_limit_is_not_terminal(begun: Maker, options: dict[str, int], terminated: bool, truncated: bool) -> None:
    world = begun(**options)
    outcome = world.step(adding(0, 0, 0, length=2))
    assert (outcome.terminated.tolist(), outcome.truncated.tolist()) == ([terminated] * 3, [truncated] * 3)


def test_the_last_observation_stays_until_the_caller_resets(begun: Maker) -> None:
    world = begun(limit=2)
    last = world.step(adding(1, 1, 1, length=2)).observation["observation"]
    assert last[:, :2].tolist() == [[2, 2]] * 3
    first = world.reset({1: 5})["observation"]
    assert first[:, :2].tolist() == [[2, 2], [0, 0], [2, 2]]
    with pytest.raises(LaminarError, match=r"no episode of 'user/Count-v0' runs in slot 0; reset it"):
        world.step(adding(1, 1, 1, length=2))


def test_slots_that_are_not_stepped_stand_still(begun: Maker) -> None:
    world = begun(success=1)
    before = world.reset({0: 0, 1: 1, 2: 2})["observation"].copy()
    outcome = world.step(adding(1, 1, 1, length=2), slots=[2, 0])
    assert outcome.steps.tolist() == [2, 0, 2]
    assert outcome.reward.tolist() == [2, 0, 2]
    assert np.isnan(outcome.success[1])
    np.testing.assert_array_equal(outcome.observation["observation"][1], before[1])
    assert world.step(adding(1, 1, 1, length=2), slots=[]).steps.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("options", "success"), [({"success": 1}, 1.0), ({"success": 9}, 0.0), ({}, None)])
def test_success_at_any_step_of_the_chunk_counts(begun: Maker, options: dict[str, int], success: float | None) -> None:
    world = begun(**options)
    outcome = world.step(adding(0, 0, 0, length=3))
    assert outcome.success.dtype == np.float64
    assert [None if np.isnan(told) else told for told in outcome.success] == [success] * 3


@pytest.mark.parametrize("build", BUILDERS)
def test_observations_have_the_dtypes_of_the_spec(make: Maker, build: Maker) -> None:
    world = make("picture=true", build=build)
    shown = world.reset({0: 0, 1: 1, 2: 2})
    assert {key: (rows.dtype, rows.shape) for key, rows in shown.items()} == {
        "state": (np.float32, (3, 3)),
        "rgb": (np.uint8, (3, 2, 2, 3)),
    }
    outcome = world.step(adding(0, 0, 0, length=2))
    assert outcome.observation["rgb"].tolist() == np.full((3, 2, 2, 3), 2).tolist()
    assert outcome.observation["state"][:, 0].tolist() == [2, 2, 2]


def test_a_seed_is_an_episode_whatever_the_slot(begun: Maker) -> None:
    world = begun()
    noise = world.reset({0: 7, 1: 8, 2: 7})["observation"][:, 2].copy()
    assert noise[0] == noise[2] != noise[1]
    assert world.reset({1: 7})["observation"][1, 2] == noise[0]
    assert world.reset({0: 1}, options={0: {"sum": 4.0}})["observation"][0, 1] == 4.0


def test_an_outcome_does_not_change_with_the_next(begun: Maker) -> None:
    world = begun()
    outcome = world.step(adding(1, 1, 1, length=2))
    world.step(adding(-1, -1, -1, length=1))
    assert (outcome.reward.tolist(), outcome.steps.tolist()) == ([2, 2, 2], [2, 2, 2])


@pytest.mark.parametrize(
    ("shape", "slots", "message"),
    [
        ((3, 1), None, r"must have shape \(3, 1 to 256, 1\), got \(3, 1\)"),
        ((2, 4, 1), None, r"got \(2, 4, 1\)"),
        ((3, 4, 2), None, r"got \(3, 4, 2\)"),
        ((3, 0, 1), None, r"got \(3, 0, 1\)"),
        ((3, 257, 1), None, r"got \(3, 257, 1\)"),
        ((3, 4, 1), [3], r"slots must be distinct and from 0 to 2, got \[3\]"),
        ((3, 4, 1), [-1], r"got \[-1\]"),
        ((3, 4, 1), [1, 1], r"got \[1, 1\]"),
    ],
)
def test_what_cannot_be_stepped(begun: Maker, shape: tuple[int, ...], slots: list[int] | None, message: str) -> None:
    world = begun()
    with pytest.raises(LaminarError, match=message):
        world.step(np.zeros(shape), slots)


@pytest.mark.parametrize("build", BUILDERS)
def test_a_world_goes_on_where_its_state_was_taken(make: Maker, build: Maker) -> None:
    world = make("terminal=9", build=build)
    world.reset({0: 3, 1: 4})
    world.step(adding(0.1, 0.2, 0.3, length=4), slots=[0, 1])
    world.step(adding(0.3, 0.2, 0.1, length=2), slots=[1])
    world.step(adding(1.0, 0.2, 0.1, length=8), slots=[0])  # ends
    state = world.state()
    assert state["lengths"].tolist() == [9, 6, 0]
    again = make("terminal=9", build=build)
    again.reset({0: 0, 1: 1, 2: 2})
    shown = again.load_state(state)
    world.reset({2: 6}), again.reset({2: 6})
    np.testing.assert_array_equal(
        shown["observation"], world.step(adding(0, 0, 0, length=1), []).observation["observation"]
    )
    with pytest.raises(LaminarError, match="runs in slot 0"):
        again.step(adding(0, 0, 0, length=1))
    chunks = adding(0, 0.5, 0.25, length=2)
    assert figures(again.step(chunks, [1, 2])) == figures(world.step(chunks, [1, 2]))
    assert figures(again.step(chunks, [1])) == figures(world.step(chunks, [1]))
    for key, rows in world.state().items():
        np.testing.assert_array_equal(again.state()[key], rows)


def test_a_state_does_not_change_with_its_chunks(begun: Maker) -> None:
    world = begun()
    chunks = adding(0.5, 0.5, 0.5, length=2)
    world.step(chunks)
    chunks[:] = 0.0
    assert world.state()["actions"].tolist() == [[0.5]] * 6


def test_what_cannot_be_resumed(make: Maker) -> None:
    world = make()
    world.reset({0: 0, 1: 1, 2: 2}, options={1: {"sum": 2.0}})
    with pytest.raises(LaminarError, match=r"slot 1 of 'user/Count-v0' began with options, so it cannot be resumed"):
        world.state()
    world.reset({1: 1})
    state = world.state()
    with pytest.raises(LaminarError, match=r"lacks \['seeds'\]"):
        world.load_state({key: rows for key, rows in state.items() if key != "seeds"})
    with pytest.raises(LaminarError, match=r"the state is of 3 slots .* has 2"):
        make(count=2).load_state(state)
    changed = make("terminal=5")
    changed.reset({0: 0, 1: 1, 2: 2})
    changed.step(adding(0, 0, 0, length=5))
    with pytest.raises(LaminarError, match=r"slot 0 .* did not repeat itself: its end differs"):
        make("terminal=6").load_state(changed.state())
    with pytest.raises(LaminarError, match=r"slot 0 .* did not repeat itself: it ended early"):
        make("terminal=4").load_state(changed.state())
    changed.reset({0: 0, 1: 1, 2: 2})
    state = changed.state()
    state["observation/observation"][2, 1] += 1e-3
    with pytest.raises(LaminarError, match=r"slot 2 .* did not repeat itself: observation 'observation' differs"):
        changed.load_state(state)


@pytest.mark.parametrize("build", BUILDERS)
def test_slots_begin_and_end_without_an_episode(make: Maker, build: Maker) -> None:
    world = make(build=build)
    with pytest.raises(LaminarError, match="runs in slot 0"):
        world.step(adding(0, 0, 0, length=1))
    with pytest.raises(LaminarError, match=r"got \[3\]"):
        world.reset({3: 0})
    shown = world.reset({0: 0, 1: 1, 2: 2})["observation"]
    world.close()
    world.close()
    assert shown[:, 0].tolist() == [0, 0, 0], "what was returned stays readable"
    with pytest.raises(LaminarError, match=r"runs in slot 0"):
        world.step(adding(0, 0, 0, length=1))


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("count", [0, -1])
def test_a_world_has_slots(make: Maker, build: Maker, count: int) -> None:
    with pytest.raises(LaminarError, match="at least 1 slot"):
        make(count=count, build=build)


def test_a_policy_that_does_not_fit_is_refused(registered: ModuleType, spec_of: SpecOf) -> None:
    other = replace(spec_of(ENV_ID), rate_hz=50.0)
    for build in BUILDERS:
        with pytest.raises(LaminarError, match="control rate differs: the policy runs at 50 Hz"):
            build(ENV_ID, other, 1)


def test_what_was_executed_is_known(registered: ModuleType, spec_of: SpecOf) -> None:
    world = Slots("user/Count-v0?terminal=3", spec_of("user/Count-v0?terminal=3"), 2)
    world.reset({0: 0, 1: 1})
    world.step(np.arange(10.0).reshape(2, 5, 1), [1])
    low, high = world.limits.low, world.limits.high
    assert world.executed(0).shape == (0, 1)
    assert np.array_equal(world.executed(1), np.clip([[5.0], [6.0], [7.0]], low, high)), "the episode ended after three"
    world.reset({1: 2})
    assert world.executed(1).shape == (0, 1)


@pytest.mark.parametrize("build", BUILDERS)
def test_tasks_begin_in_a_room(build: Maker, spec_of: SpecOf, registered: ModuleType) -> None:
    env_id = "laminar/Playroom-v0?instruction=task"
    world = build(env_id, spec_of(env_id), 2)
    world.reset({0: 0, 1: 1})
    shown = world.begin({1: "open_drawer"})
    assert shown["instruction"].sum(axis=1).tolist() == [0, 1]
    outcome = world.step(np.zeros((2, 1, 7)))
    assert np.isnan(outcome.success[0])
    assert outcome.success[1] == 0.0
    with pytest.raises(LaminarError, match=r"slot 1 .* was given a task since, so it cannot be resumed"):
        world.state()
    world.reset({1: 3})
    assert world.state()["seeds"].tolist() == [0, 3]
    with pytest.raises(LaminarError, match="did you mean 'open_drawer'"):
        world.begin({0: "open_drawr"})
    world.close()
    other = build(ENV_ID, spec_of(ENV_ID), 1)
    other.reset({0: 0})
    with pytest.raises(LaminarError, match="'user/Count-v0' takes no instructions"):
        other.begin({0: "open_drawer"})
    other.close()
