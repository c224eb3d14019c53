"""Choices of acting that are made anew for a saved planner, and the words that say how it acts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.errors import LaminarError
from laminar.policies import load_policy
from laminar.policies.acting import Actor, actor_for
from laminar.policies.generative import GenerativePolicy
from laminar.policies.planners.anew import Anew, acting_anew
from laminar.policies.planners.config import Following
from laminar.policies.planners.following import ChunkActor, PlanningActor
from laminar.policies.planners.planner import PlanningPolicy

MakePlanner = Any


def told(**settings: Any) -> Any:
    return Anew(**settings)


def test_what_is_not_chosen_stays_as_it_was_saved(make_planner: MakePlanner) -> None:
    saved = Following("inverse", replan=4, warm_start=2)
    planner = make_planner(follow=saved, returns=True, target_return=7.0)
    assert acting_anew(planner, told()).planner_config == planner.planner_config
    found = acting_anew(planner, told(replan=0, target_return=3.0))
    assert found.planner_config.follow == replace(saved, replan=0)
    assert found.planner_config.target_return == 3
    assert acting_anew(planner, told(warm_start=0)).planner_config.follow.warm_start is None
    assert acting_anew(planner, told(track_return=True)).planner_config.follow.track_return
    assert found.checkpoint_hash() == planner.checkpoint_hash()
    assert planner.planner_config.follow == saved  # what was given is not changed


def test_chunks_are_executed_as_far_as_told(make_planner: MakePlanner) -> None:
    found = acting_anew(make_planner(), told(execute=3))
    assert (found.spec.execute, found.planner_config.execute) == (3, 3)
    with pytest.raises(LaminarError, match=r"policy.execute=5 is more than policy.chunk=4"):
        acting_anew(make_planner(), told(execute=5))


def test_a_draft_goes_through_as_many_steps_as_told(make_planner: MakePlanner) -> None:
    planner = make_planner(draft=2)
    noise = torch.randn(3, *planner.noise_shape, generator=torch.Generator().manual_seed(1))
    found = {steps: acting_anew(planner, told(draft_steps=steps)) for steps in (0, 1, 2)}
    plans = {steps: one.sample(seen(3), noise) for steps, one in found.items()}
    torch.testing.assert_close(plans[2], planner.sample(seen(3), noise), rtol=0, atol=0)
    assert not torch.equal(plans[1], plans[2])
    assert [found[steps].calls().count for steps in found] == [3, 1, 2]
    plain = make_planner()  # the same but for the drafts
    plain.plans.load_state_dict({k: v for k, v in planner.plans.state_dict().items() if "drafter" not in k})
    plain.inverse.load_state_dict(planner.inverse.state_dict())
    torch.testing.assert_close(plans[0], plain.sample(seen(3), noise), rtol=0, atol=0)
    assert "without drafts" in found[0].manner
    assert "of a draft by 1 step, " in found[1].manner
    with pytest.raises(LaminarError, match="its last 4 are asked for; choose at most 3"):
        acting_anew(planner, told(draft_steps=4))


def test_a_planner_without_its_drafts_is_saved_with_them(make_planner: MakePlanner, tmp_path: Path) -> None:
    planner = make_planner(draft=2)
    found = load_policy(acting_anew(planner, told(draft_steps=0)).save(tmp_path / "policy"))
    assert isinstance(found, PlanningPolicy)
    assert found.planner_config.draft.steps == 0
    assert found.plans.drafter is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"controller": "chunk", "replan": 0}, "plan.replan=0 goes beyond a chunk of 4"),
        ({"controller": "inverse", "replan": 6}, "plan.replan=6 is longer than a plan, which takes 5"),
        ({"warm_start": 4}, "its last 4 are asked for; choose at most 3"),
        ({"draft_steps": 1}, "plan.draft_steps is for plans that begin with a draft"),
        ({"track_return": True}, "plan.track_return is for plans that are conditioned on their return"),
        ({"target_return": 3.0}, "plan.target_return is for plans that are conditioned on their return"),
    ],
)
def test_what_a_planner_cannot_do_is_refused_in_a_line(
    make_planner: MakePlanner, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(LaminarError, match=message) as refused:
        acting_anew(make_planner(), told(**settings))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"controller": "pid"}, "plan.controller must be chunk, inverse, waypoints or null"), ({"replan": -1}, "replan")],
)
def test_what_makes_no_sense_is_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        Anew(**settings)


def test_a_policy_that_is_no_planner_is_refused(make_planner: MakePlanner) -> None:
    plans: GenerativePolicy = make_planner().plans
    with pytest.raises(LaminarError, match=r"^plan.controller, plan.replan: this policy makes no plans"):
        acting_anew(plans, told(controller="inverse", replan=2))


def test_records_have_what_was_chosen() -> None:
    some = told(controller="waypoints", replan=0, track_return=False)
    assert some.to_json() == {"controller": "waypoints", "replan": 0, "track_return": False}
    assert Anew.from_json(some.to_json()) == some
    assert Anew.from_json(None) is None
    assert Anew.of(told()) is None
    assert Anew.of(some) == some


@pytest.mark.parametrize(
    ("planner", "words"),
    [
        ({}, "plans of 6 states, one a control step, made anew every 2 steps, followed by an inverse model in chunks"),
        (
            {"actions": True, "stride": 2, "execute": 1},
            "plans of 6 states, 2 control steps apart, made anew at every step, followed by their own actions",
        ),
        (
            {"follow": Following("inverse", replan=0)},
            "plans of 6 states, one a control step, made once, followed by an inverse model at every step",
        ),
        (
            {"follow": Following("waypoints", replan=3, warm_start=1)},
            "plans of 6 states, one a control step, made anew every 3 steps, from the last one by 1 step, followed by "
            "a waypoint controller",
        ),
        (
            {"returns": True, "target_return": 12.5, "follow": Following(track_return=True)},
            "plans of 6 states, one a control step, made anew every 2 steps, asked for a return of 12.5, then for what "
            "is left of it, followed by an inverse model in chunks",
        ),
    ],
)
def test_words_say_how_plans_are_followed(make_planner: MakePlanner, planner: dict[str, Any], words: str) -> None:
    assert make_planner(**planner).manner == words


def test_other_policies_have_no_words(make_planner: MakePlanner) -> None:
    assert make_planner().plans.manner == ""


def seen(slots: int) -> dict[str, torch.Tensor]:
    return {"observation": torch.randn(slots, 4, generator=torch.Generator().manual_seed(3))}


def test_an_actor_of_chunks_acts_as_a_plain_one_and_says_what_it_foresees(make_planner: MakePlanner) -> None:
    planner = make_planner(candidates=3)
    ours, plain = actor_for(planner), Actor(planner)
    assert type(ours) is ChunkActor
    noise = torch.randn(2, *planner.noise_shape, generator=torch.Generator().manual_seed(0))
    decision, other = ours.decide(seen(2), noise), plain.decide(seen(2), noise)
    assert decision is not None
    assert other is not None
    torch.testing.assert_close(decision.chunk, other.chunk, rtol=0, atol=0)
    assert other.foreseen is None
    assert decision.foreseen is not None
    plan = planner.plan({"observation": seen(2)["observation"][:, None]}, noise)
    torch.testing.assert_close(decision.foreseen["observation"], plan.best(), rtol=0, atol=0)
    torch.testing.assert_close(decision.foreseen["observation"][:, 0], seen(2)["observation"], rtol=0, atol=1e-5)
    for _ in range(planner.spec.execute):
        np.testing.assert_array_equal(ours.pop().numpy(), plain.pop().numpy())
    half = ours.plan(ours.observe(seen(2)), np.array([False, True]), noise)
    torch.testing.assert_close(half.chunk, decision.chunk[1:])


def test_an_actor_of_plans_says_what_it_foresees(make_planner: MakePlanner) -> None:
    planner = make_planner(actions=True, follow=Following("waypoints", replan=0))
    actor = actor_for(planner)
    assert type(actor) is PlanningActor
    decision = actor.decide(seen(2))
    assert decision is not None
    assert decision.foreseen is not None
    assert decision.foreseen["observation"].shape == (2, 6, 4)


@pytest.mark.parametrize("candidates", [1, 3])
def test_a_draft_is_written_once_for_all_candidates(
    make_planner: MakePlanner, candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = make_planner(draft=2, candidates=candidates, returns=True)
    drafter: Any = planner.plans.drafter
    rows: list[int] = []
    roll = drafter.roll

    def counting(first: torch.Tensor, *others: Any) -> torch.Tensor:
        rows.append(len(first))
        return roll(first, *others)

    monkeypatch.setattr(drafter, "roll", counting)
    noise = torch.randn(2, *planner.noise_shape, generator=torch.Generator().manual_seed(0))
    cond = planner.encode({"observation": seen(2)["observation"][:, None]})
    found = planner.planned(cond, noise).tokens
    assert rows == [2]
    start = (noise[..., :-1] if candidates > 1 else noise).reshape(-1, *planner.plans.noise_shape)
    alone = planner.plans.decode(cond.repeat_interleave(candidates, dim=0), start)
    torch.testing.assert_close(found.flatten(0, 1), alone)
    prepared = planner.plans.prepared(cond)
    assert planner.plans.prepared(prepared) is prepared
