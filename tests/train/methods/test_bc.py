"""Flat buffers, the average of the weights, the learning rate: each against the plain formula."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from laminar.data.episodes import Episodes
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.train.improver import Context
from laminar.train.methods.bc import BehaviorCloning, Config, ema_decay, learning_rate
from laminar.train.update.flat import FlatParameters, clip_norm
from laminar.train.update.group import Group


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def cloning(episodes: Episodes, **settings: Any) -> BehaviorCloning:
    torch.manual_seed(0)
    policy = GenerativePolicy.build(PolicyConfig(), MLPConfig(width=8), episodes)
    context = Context(
        steps=100,
        device="cpu",
        generator=torch.Generator().manual_seed(0),
        processes=Group(),
        compiled=False,
        short_episodes="error",
    )
    return BehaviorCloning(policy, episodes, Config(batch_size=4, **settings), context)


def test_a_flat_module_computes_the_same() -> None:
    plain, flat = network(), network()
    buffers = FlatParameters(flat)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flat(x), plain(x))
    plain(x).square().sum().backward()
    flat(x).square().sum().backward()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None])
    assert torch.equal(buffers.gradient, expected)
    assert list(flat.state_dict()) == list(plain.state_dict())


def test_parameters_and_gradients_are_views_of_the_buffers() -> None:
    module = network()
    flat = FlatParameters(module)
    flat.values.data.fill_(2.0)
    flat.gradient.fill_(3.0)
    for parameter in module.parameters():
        assert (parameter == 2.0).all()
        assert parameter.grad is not None
        assert (parameter.grad == 3.0).all()
    module.load_state_dict({name: torch.ones_like(value) for name, value in module.state_dict().items()})
    assert (flat.values == 1.0).all(), "loading weights must not tear the views off"


def test_backward_adds_into_the_buffer() -> None:
    module = network()
    flat = FlatParameters(module)
    x = torch.ones(1, 3)
    module(x).sum().backward()
    once = flat.gradient.clone()
    module(x).sum().backward()
    assert torch.equal(flat.gradient, 2 * once)


def test_one_flat_adamw_is_adamw_of_every_tensor() -> None:
    plain, module = network(), network()
    flat = FlatParameters(module)
    settings: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.99), "weight_decay": 0.1}
    ours = torch.optim.AdamW([flat.values], fused=True, **settings)
    theirs = torch.optim.AdamW(plain.parameters(), foreach=False, fused=False, **settings)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        flat.gradient.zero_()
        theirs.zero_grad()
        for model, optimizer in ((module, ours), (plain, theirs)):
            model(x).square().mean().backward()
            optimizer.step()
    for ours_now, theirs_now in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours_now, theirs_now, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("max_norm", [0.01, 1e6])
def test_clip_gradient_is_clip_grad_norm(max_norm: float) -> None:
    plain, module = network(), network()
    flat = FlatParameters(module)
    x = torch.ones(1, 3)
    plain(x).sum().backward()
    module(x).sum().backward()
    expected = nn.utils.clip_grad_norm_(plain.parameters(), max_norm)
    norm = flat.clip_gradient(max_norm)
    torch.testing.assert_close(norm, expected)
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert flat.gradient.norm() <= max_norm * 1.001


@pytest.mark.parametrize("max_norm", [0.01, 1e6, None])
def test_a_clipped_norm_is_that_of_clip_grad_norm(max_norm: float | None) -> None:
    """A gradient below the limit stays as it is: made longer, Adam's moments would forget how small it was."""
    values = nn.Parameter(torch.zeros(3))
    values.grad = torch.tensor([3.0, 0.0, -4.0])
    clipped, norm = clip_norm(values.grad.clone(), max_norm)
    torch.testing.assert_close(norm, torch.tensor(5.0))
    if max_norm is not None:
        nn.utils.clip_grad_norm_([values], max_norm)
    torch.testing.assert_close(clipped, values.grad)


def test_learning_rate_warms_up_then_follows_a_cosine() -> None:
    config = Config(lr=2.0, warmup=10, final_lr=0.1)
    rates = [learning_rate(step, 110, config) for step in range(111)]
    assert rates[:10] == pytest.approx([2.0 * (step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(2.0)
    middle = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5))
    assert rates[60] == pytest.approx(2.0 * middle)
    assert rates[110] == pytest.approx(0.2)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
    assert learning_rate(500, 110, config) == pytest.approx(0.2), "it stays down beyond the end"


def test_learning_rate_without_warmup_or_cosine() -> None:
    assert learning_rate(0, 10, Config(lr=1.0, warmup=0)) == 1.0
    assert learning_rate(9, 10, Config(lr=1.0, warmup=0, final_lr=1.0)) == 1.0
    assert learning_rate(3, 4, Config(lr=1.0, warmup=10)) == pytest.approx(0.4), "a run shorter than its warm-up"


def test_ema_decay_warms_up() -> None:
    config = Config(ema_decay=0.999, ema_power=0.75)
    decays = [ema_decay(step, config) for step in range(100_000)]
    assert decays[0] == 0.0, "the first update forgets the random start"
    assert decays[15] == pytest.approx(1 - 16**-0.75)
    assert decays == sorted(decays)
    assert decays[-1] == 0.999


def test_the_average_follows_its_formula(episodes: Episodes) -> None:
    bc = cloning(episodes, ema_decay=0.5, ema_power=1.0)
    expected = bc.flat.values.detach().clone()
    for step in range(5):
        bc.update(step)
        decay = min(0.5, 1 - 1 / (1 + step))
        expected = decay * expected + (1 - decay) * bc.flat.values.detach()
    averaged = torch.cat([p.flatten() for p in bc.product().parameters()])
    torch.testing.assert_close(averaged, expected)
    assert not torch.equal(averaged, bc.flat.values.detach())


def test_the_averaged_policy_shares_nothing_with_the_trained_one(episodes: Episodes) -> None:
    bc = cloning(episodes)
    before = bc.product().checkpoint_hash()
    bc.flat.values.data.add_(1.0)
    assert bc.product().checkpoint_hash() == before
    assert not bc.product().training
    assert not any(parameter.requires_grad for parameter in bc.product().parameters())


def test_an_update_applies_learning_rate_and_clipping(episodes: Episodes) -> None:
    bc = cloning(episodes, lr=0.5, warmup=10, max_grad_norm=1e-3)
    metrics = bc.update(4)
    assert bc.optimizer.param_groups[0]["lr"] == pytest.approx(0.25)
    assert bc.flat.gradient.norm() <= 1.001e-3
    assert metrics["grad_norm"] > 1e-3, "the norm before clipping is the one to watch"
    assert all(value.requires_grad is False for value in metrics.values())


def test_training_lowers_the_loss(episodes: Episodes) -> None:
    bc = cloning(episodes, warmup=1, lr=1e-2)
    losses = [float(bc.update(step)["loss"]) for step in range(100)]
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])


def test_nothing_draws_from_the_global_generator(episodes: Episodes) -> None:
    bc = cloning(episodes)
    state = torch.get_rng_state()
    bc.update(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_state_round_trip(episodes: Episodes) -> None:
    first, second = cloning(episodes), cloning(episodes)
    for step in range(3):
        first.update(step)
    state = {name: value.clone() for name, value in first.state().items()}
    second.load_state(state)
    second.product().load_state_dict(first.product().state_dict())
    for bc in (first, second):
        bc.update(3)
    assert first.state().keys() == second.state().keys()
    assert all(torch.equal(value, second.state()[name]) for name, value in first.state().items())
    assert first.product().checkpoint_hash() == second.product().checkpoint_hash()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("batch_size", 0), ("lr", 0.0), ("lr", math.nan), ("warmup", -1), ("final_lr", 2.0), ("beta2", 1.0)),
        *(("weight_decay", -1.0), ("max_grad_norm", 0.0), ("ema_decay", 1.5), ("ema_power", 0.0)),
    ],
)
def test_settings_out_of_range(name: str, value: float, episodes: Episodes) -> None:
    settings = {"batch_size": 4, name: value}
    bc = cloning(episodes)
    with pytest.raises(LaminarError, match=rf"method\.{name} must be .*, got {value}"):
        BehaviorCloning(bc.online, episodes, Config(**settings), bc.context)
