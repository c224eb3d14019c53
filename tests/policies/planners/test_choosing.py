"""How a critic guides and chooses: its gradient, the best of N, the softmax, and that it is not told the answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies.guided import Acting, Guided, acting_of, critic_of, guide
from laminar.policies.guided.choosing import gumbel
from laminar.policies.guided.judge import Judge
from laminar.policies.planners import Planner

Make = Callable[..., Planner]
ROWS = 4


def seen_of(rows: int = ROWS) -> Tensor:
    return 3 + torch.randn(rows, 4, generator=torch.Generator().manual_seed(0))


def noise_of(planner: Planner, rows: int = ROWS) -> Tensor:
    return torch.randn(rows, *planner.noise_shape, generator=torch.Generator().manual_seed(1))


def judge_of(planner: Planner) -> Judge:
    critic = critic_of(planner)
    assert critic is not None
    return Judge(planner.plans, critic)


@pytest.mark.parametrize("actions", [False, True])
def test_the_gradient_is_that_of_finite_differences(make_planner: Make, actions: bool) -> None:
    planner = make_planner(candidates=2, guidance="gradient", actions=actions).double()
    judge, plans = judge_of(planner), planner.plans
    cond = planner.encode({"observation": seen_of()[:, None].double()})
    data = torch.randn(ROWS, *plans.noise_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = judge.gradient(cond, data)
    step, flat = 1e-6, data.flatten(1)
    for place in range(0, flat.shape[1], 5):
        moved = torch.zeros_like(flat)
        moved[:, place] = step
        up, down = (judge.of_data(cond, (flat + sign * moved).view_as(data)) for sign in (1, -1))
        torch.testing.assert_close(found.flatten(1)[:, place], (up - down) / (2 * step), rtol=1e-4, atol=1e-7)


def test_a_gradient_raises_what_the_critic_expects(make_planner: Make) -> None:
    planner = make_planner(actions=True, candidates=4, guidance="gradient", temperature=0.05)
    plain = guide(planner, Acting(4, "argmax"))
    assert isinstance(plain, Planner)
    noise = noise_of(planner)
    guided, free = (one.plan(seen_of(), noise).returns for one in (planner, plain))
    assert guided is not None
    assert free is not None
    assert (guided > free).float().mean() > 0.9


@pytest.mark.parametrize("process", ["diffusion", "flow", "meanflow"])
@pytest.mark.parametrize("draft", [None, 1])
def test_the_best_of_n_is_the_critics(make_planner: Make, process: str, draft: int | None) -> None:
    planner = make_planner(process, candidates=6, draft=draft)
    noise = noise_of(planner)
    plan, judge = planner.plan(seen_of(), noise), judge_of(planner)
    cond = planner.encode(planner.windows({"observation": seen_of()}))
    values = torch.stack([judge.of_chunks(cond, plan.tokens[:, i]) for i in range(6)], dim=1)
    assert torch.equal(plan.chosen, values.argmax(dim=1))
    assert len(plan.chosen.unique()) > 1
    assert plan.returns is not None
    torch.testing.assert_close(plan.returns, -10 + 40 * values, rtol=1e-4, atol=1e-4)
    alone = guide(planner, Acting())
    assert isinstance(alone, Planner)
    for i in range(6):  # each candidate is the plan of its own noise
        start = noise[:, i, :-1].reshape(ROWS, *planner.plans.noise_shape)
        torch.testing.assert_close(alone.plan(seen_of(), start).tokens[:, 0], plan.tokens[:, i], rtol=1e-4, atol=1e-4)


def test_the_softmax_draws_by_the_last_numbers_of_the_noise(make_planner: Make) -> None:
    planner = make_planner(candidates=6, selection="softmax", temperature=0.3)
    noise = noise_of(planner)
    plan = planner.plan(seen_of(), noise)
    assert plan.returns is not None
    values = (plan.returns + 10) / 40
    assert torch.equal(plan.chosen, (values + 0.3 * gumbel(noise[..., -1])).argmax(dim=1))


def test_a_planner_is_guided_anew(make_planner: Make) -> None:
    planner = make_planner(candidates=3)
    again = guide(planner, Acting(5, "softmax", 0.5))
    assert isinstance(again, Planner)
    assert (planner.noise_shape, again.noise_shape) == ((3, 25), (5, 25))
    assert acting_of(again) == Acting(5, "softmax", 0.5)
    back = guide(again, Acting(3, "argmax"))
    assert torch.equal(back.sample(seen_of(), noise_of(planner)), planner.sample(seen_of(), noise_of(planner)))
    assert next(again.parameters()) is next(planner.parameters())
    assert acting_of(planner) == Acting(3, "argmax", jacobian="exact")
    still = guide(again, Acting())
    assert still.noise_shape == (6, 4)
    assert guide(still, Acting(3, "argmax")).noise_shape == (3, 25)


@pytest.mark.parametrize(
    "acting", [Acting(3, noise_scale=0.5), Acting(3, zscore=True), Acting(3, guidance="fk"), Acting(noise_scale=0.0)]
)
def test_ways_that_are_no_planners_are_refused(make_planner: Make, acting: Acting) -> None:
    with pytest.raises(LaminarError, match="plans are chosen among candidates or moved by a gradient, not by"):
        guide(make_planner(candidates=3), acting)


def test_without_a_critic_there_is_nothing_to_choose_by(make_planner: Make) -> None:
    planner = make_planner(judge=False, candidates=4)
    assert planner.critic is None
    assert planner.candidates == 1
    with pytest.raises(LaminarError, match="has no critic to choose or to guide by"):
        guide(planner, Acting(3))


def test_a_critic_is_not_told_what_return_is_asked_for(make_planner: Make) -> None:
    """While it learns, that is the very number that it is to find out."""
    planner = make_planner(returns=True, candidates=3)
    critic, plans = planner.critic, planner.plans
    assert critic is not None
    assert isinstance(planner.base, Guided)
    tokens = torch.randn(ROWS, 24)
    conds = [planner.asking(asked).encode(planner.windows({"observation": seen_of()})) for asked in (0.0, 20.0)]
    assert not torch.equal(*conds)
    assert torch.equal(*(critic(cond.flatten(1), tokens) for cond in conds))
    cond = conds[0].flatten(1).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(cond, tokens).sum(), cond)
    assert torch.equal(gradient[0] == 0, plans.untold == 0)
    assert (plans.untold == 0).sum() == 2
