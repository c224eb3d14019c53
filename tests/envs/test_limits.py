"""Executed actions are clipped to an environment's limits, counted and told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from laminar.data.spec import Spec
from laminar.envs import env_spec, make_env
from laminar.envs.fitting import fit_env, training_remarks
from laminar.envs.limits import ActionLimits, Clipping
from laminar.envs.slots import Slots
from laminar.envs.workers import WorkerSlots

SpecOf = Callable[..., Spec]
_MOST = float(np.finfo(np.float32).max)


def in_process(env_id: str, wanted: Spec) -> Slots:
    return Slots(env_id, wanted, 3)


def over_workers(env_id: str, wanted: Spec) -> WorkerSlots:
    return WorkerSlots(env_id, wanted, 3, processes=2)


@pytest.fixture(params=[in_process, over_workers])
def world(request: pytest.FixtureRequest, strangers: str, spec_of: SpecOf) -> Iterator[Callable[[str], Any]]:
    """Return a function from an id to a world of three slots in which episodes run."""
    made: list[Any] = []

    def make(env_id: str) -> Any:
        made.append(request.param(env_id, spec_of(env_id)))
        made[-1].reset({0: 0, 1: 1, 2: 2})
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_each_number_has_its_own_limits(world: Callable[[str], Any]) -> None:
    """Asymmetric, half-infinite and infinite limits, under dictionary observations."""
    found = world("strangers:Uneven-v0")
    chunks = np.zeros((3, 2, 3), np.float32)
    chunks[0] = [[-5.0, -5.0, -5.0], [5.0, 5.0, 5.0]]
    chunks[1] = [[0.7, -1.0, 9.0], [0.5, 0.5, 0.5]]
    outcome = found.step(chunks)
    expected = [-0.2 - 100 - 50_000 + 0.7 + 500 + 50_000, 0.7 - 100 + 90_000 + 0.5 + 50 + 5_000, 0.0]
    np.testing.assert_allclose(outcome.reward, expected, rtol=1e-6)
    told = found.limits.clipping
    assert (told.steps, told.clipped) == (6, 2), "an action at its limit is not cut"
    assert sorted(told.dimensions) == [0, 1]
    hip, knee = told.dimensions[0], told.dimensions[1]
    assert (hip.name, hip.steps, hip.lowest, hip.highest) == ("hip", 2, -5.0, 5.0)
    assert (knee.steps, knee.lowest, knee.high) == (1, -5.0, np.inf)
    assert told.text.startswith("33 % of 6 steps, dimension 0 (hip) in 33 %, down to -5 where -0.2 is the limit and up")
    again = Clipping.from_json(told.to_json())
    assert again == told
    assert again.to_json()["dimensions"][1]["high"] is None


def test_only_executed_steps_count(world: Callable[[str], Any]) -> None:
    """An episode ends after five steps; the other slot does not take part."""
    found = world("strangers:Doubles-v0")
    outcome = found.step(np.full((3, 8, 2), 7.0, np.float32), slots=[1])
    assert outcome.steps.tolist() == [0, 5, 0]
    assert (found.limits.clipping.steps, found.limits.clipping.clipped) == (5, 5)


def test_limits_that_float32_does_not_have_are_kept(world: Callable[[str], Any]) -> None:
    """The environment refuses an action that exceeds them by a rounding."""
    found = world("strangers:Doubles-v0")
    for value in (9.0, -9.0, 0.3, 0.1):
        found.step(np.full((3, 1, 2), value, np.float32))
    assert found.limits.clipping.dimensions[0].steps == 6, "what float32 makes of 0.3 and 0.1 is no excess"


def test_without_limits_nothing_is_cut(world: Callable[[str], Any]) -> None:
    found = world("strangers:Unbounded-v0")
    assert found.step(np.full((3, 2, 2), 1e6, np.float32)).reward.tolist() == [2e6] * 3
    assert (found.limits.clipping.steps, found.limits.clipping.clipped, found.limits.clipping.text) == (6, 0, "")


def test_the_callers_chunks_are_left_alone(world: Callable[[str], Any]) -> None:
    for name in ("Uneven", "Unbounded"):
        found = world(f"strangers:{name}-v0")
        chunks = np.full((3, 1, found.spec.action_dim), 3.0, np.float32)
        found.step(chunks)
        assert (chunks == 3.0).all()


def test_a_resumed_world_does_the_clipped_actions_again(world: Callable[[str], Any]) -> None:
    found = world("strangers:Doubles-v0")
    found.step(np.full((3, 2, 2), 7.0, np.float32))
    state = found.state()
    assert state["actions"].max() <= 0.3
    before = {key: rows.copy() for key, rows in found.observations.items()}
    shown = found.load_state(state)
    np.testing.assert_array_equal(shown["observation"], before["observation"])


@pytest.mark.parametrize("env_id", ["halfcheetah-medium-v2", "hopper-medium-v2", "ant-random-v0"])
def test_d4rl_s_environments_clip_before_the_step(env_id: str) -> None:
    """The cost of control is that of the clipped action, however the environment is stepped."""
    env = make_env(env_id)
    rewards: list[float] = []
    for value in (1.0, 20.0):
        env.reset(seed=0)
        rewards.append(float(env.step(np.full(env.action_space.shape or (), value, np.float32))[1]))
    assert rewards[0] == rewards[1]
    spec = env_spec(env)
    env.close()
    assert spec.action_low == (-1.0,) * spec.action_dim
    slots = Slots(env_id, spec, 1)
    slots.reset({0: 0})
    assert slots.step(np.full((1, 1, spec.action_dim), 20.0)).reward[0] == pytest.approx(rewards[0])
    assert slots.limits.clipping.clipped == 1
    slots.close()


@pytest.mark.parametrize("env_id", ["maze2d-umaze-v1", "antmaze-umaze-v2", "pen-human-v1", "kitchen-mixed-v0"])
def test_adapted_environments_clip_by_themselves(env_id: str) -> None:
    env = make_env(env_id)
    seen: list[Any] = []
    for value in (1.0, 20.0):
        env.reset(seed=0)
        seen.append(env.step(np.full(env.action_space.shape or (), value, np.float32))[:2])
    env.close()
    np.testing.assert_allclose(seen[0][0], seen[1][0], atol=1e-6)
    assert seen[0][1] == pytest.approx(seen[1][1])


def test_a_fixed_dimension_and_rounding() -> None:
    limits = ActionLimits(spaces.Box(np.array([0.1, -1e8]), np.array([0.1, 1e8]), dtype=np.float64))
    clipped = limits.clip(np.array([[[5.0, 3e8]]], np.float32))
    np.testing.assert_allclose(clipped, [[[0.1, 1e8]]], rtol=1e-6)
    assert limits.beyond(np.array([[0.1, 1e8]], np.float32)).clipped == 0


@pytest.mark.parametrize(
    ("limit", "kind"),
    [(_MOST, "float32"), (_MOST, "float64"), (1e300, "float64"), (float(np.finfo(np.float64).max), "float64")],
)
def test_huge_limits_are_limits(strangers: str, spec_of: SpecOf, limit: float, kind: str) -> None:
    """Without a warning that they overflow."""
    env_id = f"strangers:Huge-v0?limit={limit}&kind={kind}"
    slots = Slots(env_id, spec_of(env_id), 1)
    slots.reset({0: 0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = ActionLimits(slots.envs[0].action_space)  # type: ignore[arg-type]
        slots.step(np.full((1, 1, 2), 1e30, np.float32))
    assert slots.limits.clipping.clipped == 0
    assert np.isfinite(again.high).all()
    slots.close()


def test_data_outside_of_the_limits_are_told_before_training(strangers: str, spec_of: SpecOf) -> None:
    fitted = fit_env("strangers:Uneven-v0", spec_of("strangers:Uneven-v0"))
    inside = np.array([[0.0, 0.0, 0.0], [0.7, 9.0, -9.0]])
    outside = np.array([[0.0, 0.0, 0.0], [0.9, -3.0, 0.0]])
    assert not [one for one in training_remarks(fitted, inside) if "actions" in one]
    assert not [one for one in training_remarks(fitted, None) if "actions" in one]
    (told,) = [one for one in training_remarks(fitted, outside) if "actions" in one]
    fitted.env.close()
    assert "outside of the limits of 'strangers:Uneven-v0', where they will be clipped: 50 % of 2 steps" in told
    assert "dimension 0 (hip) in 50 %, up to 0.9 where 0.7 is the limit; 1 (knee) in 50 %, down to -3" in told
