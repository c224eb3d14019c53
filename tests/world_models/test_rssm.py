"""Divergences, draws and their gradients, each against a direct computation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from laminar.world_models.rssm import RSSM, Latent, balanced_divergence, divergence


def shares(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).softmax(dim=-1)


def direct(p: Tensor, q: Tensor) -> float:
    """KL(p || q) of one (groups, classes), by loops."""
    pairs = zip(p.flatten().tolist(), q.flatten().tolist(), strict=True)
    return sum(a * math.log(a / b) for a, b in pairs)


@pytest.fixture
def rssm() -> RSSM:
    torch.manual_seed(0)
    return RSSM(deter=8, groups=3, classes=5, hidden=8, embedding=4, inputs=6, unimix=0.01)


def test_the_divergence_is_the_sum_over_groups() -> None:
    p, q = shares(0, 2, 3, 5), shares(1, 2, 3, 5)
    assert divergence(p, q).tolist() == pytest.approx([direct(a, b) for a, b in zip(p, q, strict=True)])
    assert divergence(p, p).tolist() == pytest.approx([0, 0])


def test_balancing_leaves_the_value_and_shares_the_gradient() -> None:
    p, q = shares(0, 1, 3, 5).requires_grad_(), shares(1, 1, 3, 5).requires_grad_()
    balanced = balanced_divergence(p, q, 0.8, 0.0)
    assert float(balanced.detach()) == pytest.approx(direct(p[0], q[0]))
    mine = torch.autograd.grad(balanced.sum(), (p, q))
    whole = torch.autograd.grad(divergence(p, q).sum(), (p, q))
    torch.testing.assert_close(mine[0], 0.2 * whole[0])
    torch.testing.assert_close(mine[1], 0.8 * whole[1])


def test_free_bits_teach_nothing() -> None:
    p = torch.stack([shares(0, 3, 5), shares(2, 3, 5)])
    q = torch.stack([shares(1, 3, 5), shares(2, 3, 5)]).requires_grad_()  # the second pair is alike
    free = 0.5 * direct(p[0], q[0])
    found = balanced_divergence(p, q, 0.8, free)
    assert found.tolist() == pytest.approx([2 * free, free])
    (gradient,) = torch.autograd.grad(found.sum(), q)
    assert gradient[0].abs().max() > 0
    assert not gradient[1].any()


def test_the_gradient_of_a_draw_is_that_of_its_probabilities(rssm: RSSM) -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(2, 15, generator=torch.Generator().manual_seed(1))
    probabilities = logits.softmax(dim=2)
    code = rssm.draw(probabilities, torch.rand(2, 3, generator=torch.Generator().manual_seed(2)))
    (mine,) = torch.autograd.grad((code * weight).sum(), logits, retain_graph=True)
    (straight,) = torch.autograd.grad((probabilities.flatten(1) * weight).sum(), logits)
    assert torch.equal(mine, straight)
    chosen = code.detach().unflatten(1, (3, 5))
    torch.testing.assert_close(chosen.sum(dim=2), torch.ones(2, 3))
    torch.testing.assert_close(chosen.amax(dim=2), torch.ones(2, 3))


def test_draws_follow_their_probabilities(rssm: RSSM) -> None:
    count = 20_000
    probabilities = shares(3, 1, 3, 5).float()
    uniform = torch.rand(count, 3, generator=torch.Generator().manual_seed(0))
    code = rssm.draw(probabilities.expand(count, 3, 5), uniform).unflatten(1, (3, 5))
    torch.testing.assert_close(code.mean(dim=0), probabilities[0], atol=0.015, rtol=0)


def test_uniform_numbers_at_the_ends_choose_a_class(rssm: RSSM) -> None:
    probabilities = torch.full((1, 3, 5), 0.2)
    for uniform in (0.0, 1 - 2**-24):  # cumulated shares may end a little below 1
        assert rssm.draw(probabilities, torch.full((1, 3), uniform)).sum() == 3


def test_no_divergence_is_infinite(rssm: RSSM) -> None:
    with torch.no_grad():
        rssm.prior_logits.weight.mul_(1e6)
        rssm.posterior_logits.weight.mul_(-1e6)
    memory = rssm.begin(2)
    prior, posterior = rssm.prior(memory), rssm.posterior(memory, torch.randn(2, 4))
    assert prior.min() >= 0.01 / 5 * 0.99
    assert torch.isfinite(divergence(posterior, prior)).all()
    torch.testing.assert_close(prior.sum(dim=2), torch.ones(2, 3))


def test_the_memory_is_a_gate_between_what_was_and_what_comes(rssm: RSSM) -> None:
    rows = torch.Generator().manual_seed(0)
    latent = Latent(
        torch.randn(4, 8, generator=rows),
        torch.randn(4, 15, generator=rows),
        *(torch.randn(4, 1, generator=rows) for _ in range(2)),
    )
    after = rssm.remember(latent, torch.randn(4, 4, generator=rows))
    bound = latent.memory.abs().clamp(min=1)
    assert (after.abs() <= bound).all()
    assert not torch.equal(after, latent.memory)
