"""The actor that keeps whole plans: when it plans, what it makes of the last one, what it asks for, where it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.policies.planners import Planner
from laminar.policies.planners.config import Following
from laminar.policies.planners.following import PlanningActor, interpolated
from laminar.policies.planners.layout import RETURN
from laminar.policies.planners.waypoints import AHEAD, force

Make = Callable[..., Planner]
B = 3


def seen_of(step: int = 0, rows: int = B) -> dict[str, Tensor]:
    return {"observation": 3 + torch.randn(rows, 4, generator=torch.Generator().manual_seed(step))}


def noise_of(planner: Planner, step: int = 0, rows: int = B) -> Tensor:
    return torch.randn(rows, *planner.noise_shape, generator=torch.Generator().manual_seed(100 + step))


def actor_of(planner: Planner, **follow: Any) -> PlanningActor:
    actor = planner.following(Following(**follow)).new_actor()
    assert isinstance(actor, PlanningActor)
    return actor


def decided(actor: PlanningActor, steps: int) -> list[list[int]]:
    """Act for so many steps; return which slots planned at each."""
    found = []
    for step in range(steps):
        decision = actor.decide(seen_of(step), noise_of(actor.policy, step))  # type: ignore[arg-type]
        found.append([] if decision is None else np.flatnonzero(decision.slots).tolist())
        assert actor.pop().shape == (B, 2)
    return found


def test_a_planner_is_followed_by_chunks_unless_told(make_planner: Make) -> None:
    planner = make_planner(candidates=2)
    assert not isinstance(planner.new_actor(), PlanningActor)
    assert not planner.remembers


def test_it_plans_once_or_again_and_again(make_planner: Make) -> None:
    planner, everyone = make_planner(judge=False), list(range(B))
    assert decided(actor_of(planner, controller="inverse", replan=0), 12) == [everyone] + 11 * [[]]
    assert decided(actor_of(planner, replan=3), 7) == [everyone, [], [], everyone, [], [], everyone]
    assert decided(actor_of(planner, controller="inverse"), 4) == [everyone, [], everyone, []], "policy.execute"


def test_by_chunks_it_does_what_the_plain_actor_does(make_planner: Make) -> None:
    planner = make_planner(candidates=2)
    actor, plain = actor_of(planner, replan=2), planner.new_actor()
    for step in range(6):
        noise = noise_of(planner, step)
        assert torch.equal(actor.act(seen_of(step), noise), plain.act(seen_of(step), noise))


def test_slots_are_reset_alone(make_planner: Make) -> None:
    planner = make_planner(judge=False)
    actor = actor_of(planner, controller="inverse", replan=4)
    decided(actor, 2)
    actor.reset(np.array([False, True, False]))
    assert [slots for slots in decided(actor, 3) if slots] == [[1], [0, 2]]
    actor.reset()
    assert decided(actor, 1) == [[0, 1, 2]]
    with pytest.raises(LaminarError, match="a slot has no plan"):
        actor_of(planner, replan=1).pop()


@pytest.mark.parametrize(
    "follow", [{"replan": 3, "warm_start": 2}, {"controller": "inverse", "replan": 4}, {"track_return": True}], ids=str
)
def test_it_goes_on_from_its_state(make_planner: Make, follow: dict[str, Any]) -> None:
    planner = make_planner(returns=True, judge=False)
    actor = actor_of(planner, **follow)
    decided(actor, 5)
    actor.rewarded(np.array([1.0, 2.0, 3.0]), [0, 1, 2])
    state = actor.state()
    kept = {name: value.clone() for name, value in state.items()}

    def on(one: PlanningActor) -> Tensor:
        return torch.stack([one.act(seen_of(step), noise_of(planner, step)) for step in range(5, 12)])

    first = on(actor)
    assert all(torch.equal(value, kept[name]) for name, value in state.items()), "a state is no view of what goes on"
    again = actor_of(planner, **follow)
    again.load_state(state)
    assert torch.equal(on(again), first)


def test_what_is_asked_for_falls_by_what_is_got(make_planner: Make) -> None:
    """R becomes (R - r) / discount, and never less than a third of the target."""
    planner = make_planner(returns=True, judge=False, discount=0.5, target_return=12.0)
    actor = actor_of(planner, track_return=True)
    actor.rewarded(np.zeros(B), [0, 1, 2])  # before anything was seen
    windows = actor.observe(seen_of())
    everyone = np.ones(B, bool)
    asked = torch.tensor([12.0, 12.0, 12.0])
    for step, reward in enumerate(([8.0, 1.0, 20.0], [1.0, 0.0, 0.0])):
        told = {**planner.windows(windows), RETURN: asked[:, None, None]}
        wanted = planner.decode(planner.encode(told), noise_of(planner, step)).detach()
        found = actor.plan(windows, everyone, noise_of(planner, step))
        assert torch.equal(found.chunk, wanted)
        actor.take(found)
        actor.rewarded(np.array(reward), [0, 1, 2])
        asked = ((asked - torch.tensor(reward)) / 0.5).clamp(min=4.0)
    assert asked.tolist() == [14.0, 44.0, 8.0]
    assert actor.state()["planning.asked"].tolist() == [14.0, 44.0, 8.0]
    actor.rewarded(np.array([0.0, 100.0, 0.0]), [1])
    assert actor.state()["planning.asked"].tolist() == [14.0, 4.0, 8.0]
    actor.reset(np.array([True, False, False]))
    assert actor.state()["planning.asked"].tolist() == [12.0, 4.0, 8.0]


def test_a_target_below_zero_is_its_own_least(make_planner: Make) -> None:
    planner = make_planner(returns=True, judge=False, target_return=-9.0)
    actor = actor_of(planner, track_return=True)
    actor.observe(seen_of())
    actor.rewarded(np.full(B, 50.0), range(B))
    assert actor.state()["planning.asked"].tolist() == [-9.0] * B


def test_interpolated_plans_stay_at_their_end() -> None:
    plan = torch.tensor([[[0.0], [1.0], [3.0], [7.0]]]).repeat(2, 1, 1)
    at = torch.tensor([[0.0, 0.5, 2.25, 3.0, 9.0], [1.0, 1.5, -1.0, 2.0, 2.999]])
    wanted = torch.tensor([[0.0, 0.5, 4.0, 7.0, 7.0], [1.0, 2.0, 0.0, 3.0, 6.996]])
    torch.testing.assert_close(interpolated(plan, at)[..., 0], wanted)


@pytest.mark.parametrize("candidates", [1, 3])
def test_a_plan_goes_on_where_the_last_one_is(make_planner: Make, candidates: int) -> None:
    """Of what was planned before, shifted by the steps since then, the last steps of the process make the next."""
    planner = make_planner(candidates=candidates, stride=2)
    actor = actor_of(planner, replan=3, warm_start=2)
    first = actor.decide(seen_of(0), noise_of(planner, 0))
    before: Any = first.tokens  # type: ignore[union-attr]
    assert torch.equal(before, planner.plan(seen_of(0), noise_of(planner, 0)).best())
    for step in range(3):
        actor.pop()
        again = actor.decide(seen_of(step + 1), noise_of(planner, step + 1))
    shifted = interpolated(before, torch.arange(6) + torch.full((B, 1), 3) / 2)
    cond = planner.encode(planner.windows(seen_of(3)))
    wanted = planner.replanned(cond, noise_of(planner, 3), shifted, 2)
    assert wanted.tokens.shape[1] == candidates
    assert torch.equal(again.tokens, wanted.best())  # type: ignore[union-attr]
    if candidates == 1:
        plans, noise = planner.plans, noise_of(planner, 3)
        level = plans.process.noise_levels()[-3]
        x = level.alpha * plans.normalized(shifted) + level.sigma * noise
        for k in (1, 2):
            x, _ = plans.process.kernel(plans.network, x, k, cond)
        known: Any = plans.network
        torch.testing.assert_close(wanted.best(), plans.to_raw(known.keep(x, cond)))


def test_a_slot_without_a_plan_begins_with_noise(make_planner: Make) -> None:
    planner = make_planner(judge=False)
    actor = actor_of(planner, replan=2, warm_start=1)
    decided(actor, 2)
    actor.reset(np.array([False, True, False]))
    decision: Any = actor.decide(seen_of(2), noise_of(planner, 2))
    fresh = planner.plan(seen_of(2), noise_of(planner, 2)).best()
    torch.testing.assert_close(decision.tokens[1], fresh[1])
    assert not torch.allclose(decision.tokens[0], fresh[0], atol=1e-3)


class Straight(Planner):
    """Plans straight lines to (5, 5), which it reaches at rest."""

    def planned(self, cond: Tensor, noise: Tensor, source: Any = None) -> Any:
        plan = super().planned(cond, noise, source)
        start = plan.best()[:, :1, :2]
        part = torch.linspace(0, 1, self.layout.horizon)[None, :, None]
        position = start + part * (5.0 - start)
        velocity = (position[:, 1:2] - position[:, :1]).expand(-1, self.layout.horizon, -1) / (0.1 * self.layout.stride)
        return replace(plan, tokens=torch.cat((position, velocity), dim=2)[:, None])

    def between(self, state: Tensor, following: Tensor) -> Tensor:
        """Return what leads there, as `conftest.point_mass` moves: p' = p + 0.1 v', v' = 0.9 v + a."""
        speed = (following[:, :2] - state[:, :2]) / (0.1 * self.layout.stride)
        return (speed - 0.9 * state[:, 2:]).clamp(-1, 1)[:, None].expand(-1, self.layout.stride, -1)


@pytest.mark.parametrize(("controller", "stride"), [("inverse", 1), ("inverse", 2), ("waypoints", 4)])
def test_controllers_reach_a_goal(make_planner: Make, controller: str, stride: int) -> None:
    made = make_planner(judge=False, horizon=40, stride=stride, chunk=1, execute=1, recorded=long_walk(stride))
    planner = Straight(made.plans, made.spec, made.inverse)
    planner.planner_config = replace(planner.planner_config, follow=Following(controller, replan=0))
    actor = PlanningActor(planner)
    state = torch.tensor([[1.0, 2.0, 0.0, 0.0], [4.0, 9.0, 0.0, 0.0]])
    step = 0.1 if controller == "inverse" else 0.01
    for _ in range(60 * stride if controller == "inverse" else 2000):
        action = actor.act({"observation": state})
        velocity = 0.9 * state[:, 2:] + action if controller == "inverse" else state[:, 2:] + step * 5 * action
        state = torch.cat((state[:, :2] + step * velocity, velocity), dim=1)
    assert (state[:, :2] - 5).norm(dim=1).max() < 0.1


def long_walk(stride: int) -> Episodes:
    """Return one episode as long as a plan of 40 states."""
    steps = 40 * stride
    seen = np.random.default_rng(0).normal(size=(steps + 1, 4)).astype(np.float32)
    return Episodes(
        observation={"observation": seen[:-1]},
        final_observation={"observation": seen[-1:]},
        action=np.random.default_rng(1).uniform(-1, 1, (steps, 2)).astype(np.float32),
        reward=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, bool),
        truncated=np.arange(steps) == steps - 1,
        ends=np.array([steps]),
        spec=Spec({"observation": Feature((4,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0)),
    )


def test_a_force_is_proportional_and_damped() -> None:
    state, target = torch.tensor([[1.0, 2.0, 0.5, -0.5]]), torch.tensor([[1.1, 1.8, 9.0, 9.0]])
    torch.testing.assert_close(force(state, target), torch.tensor([[0.5, -1.5]]))
    assert AHEAD == 10


@pytest.mark.parametrize(
    ("settings", "follow", "message"),
    [
        ({}, {"replan": 0}, "goes beyond a chunk of 4 actions"),
        ({}, {"replan": 5}, "goes beyond a chunk of 4 actions"),
        ({}, {"controller": "inverse", "replan": 6}, "longer than a plan, which takes 5"),
        ({}, {"controller": "inverse", "warm_start": 4}, "its last 4 are asked for"),
        ({}, {"track_return": True}, "for plans that are conditioned on their return"),
        ({"actions": True}, {"controller": "inverse"}, "have their own actions"),
        ({"settings": {"solver": "ddpm"}}, {"warm_start": 1}, "solver=ddim"),
        ({"candidates": 2, "guidance": "gradient"}, {"warm_start": 1}, "without a gradient"),
        ({"ensemble": 0.1, "execute": 1}, {"controller": "inverse"}, "keeps no plans"),
    ],
    ids=str,
)
def test_ways_that_plans_do_not_allow_are_refused(
    make_planner: Make, settings: dict[str, Any], follow: dict[str, Any], message: str
) -> None:
    planner = make_planner(**{"judge": "guidance" in settings, **settings})
    with pytest.raises(LaminarError, match=message):
        planner.following(Following(**follow)).new_actor()


def test_waypoints_are_for_positions_and_velocities(make_planner: Make) -> None:
    recorded = long_walk(1)
    seen = {"observation": recorded.observation["observation"][:, :3]}
    final = {"observation": recorded.final_observation["observation"][:, :3]}
    spec = replace(recorded.spec, observation={"observation": Feature((3,))})
    other = replace(recorded, observation=seen, final_observation=final, spec=spec)
    with pytest.raises(LaminarError, match="there are 3 numbers and 2 actions; choose inverse or chunk"):
        actor_of(make_planner(judge=False, recorded=other), controller="waypoints")
