"""Behavior cloning: its update against plain formulas, its average, its state, its settings."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.train.improver import Context
from laminar.train.methods.bc import BehaviorCloning, Config


def cloning(episodes: Episodes, **settings: Any) -> BehaviorCloning:
    torch.manual_seed(0)
    policy = GenerativePolicy.build(PolicyConfig(), MLPConfig(width=8), episodes)
    context = Context(steps=100, generator=torch.Generator().manual_seed(0))
    return BehaviorCloning(policy, episodes, Config(batch_size=4, **settings), context)


def online(bc: BehaviorCloning) -> torch.Tensor:
    """Weights (P,) that learn."""
    assert bc.program is not None
    return bc.program.state["online"]


def test_the_average_follows_its_formula(episodes: Episodes) -> None:
    bc = cloning(episodes, ema_decay=0.5, ema_power=1.0)
    expected = online(bc).clone()
    for step in range(5):
        bc.update(step)
        decay = min(0.5, 1 - 1 / (1 + step))
        expected = decay * expected + (1 - decay) * online(bc)
    averaged = torch.cat([p.flatten() for p in bc.product().parameters()])
    torch.testing.assert_close(averaged, expected)
    assert not torch.equal(averaged, online(bc))


def test_the_averaged_policy_shares_nothing_with_the_trained_one(episodes: Episodes) -> None:
    bc = cloning(episodes)
    before = bc.product().checkpoint_hash()
    online(bc).add_(1.0)
    assert bc.product().checkpoint_hash() == before
    assert not bc.product().training
    assert not any(parameter.requires_grad for parameter in bc.product().parameters())


def test_an_update_applies_learning_rate_and_clipping(episodes: Episodes) -> None:
    bc = cloning(episodes, lr=0.5, warmup=10, max_grad_norm=1e-3)
    before = online(bc).clone()
    metrics = bc.update(4)
    first = bc.state()["online_first"]  # after one update a tenth of the clipped gradient
    assert 0.99e-4 < first.norm() <= 1.001e-4
    large = first.abs() > 1e-6  # Adam's first step is the learning rate, whatever the gradient's size
    assert large.any()
    moved = (online(bc) - before)[large].abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25), rtol=1e-2, atol=0)
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
        *(("weight_decay", -1.0), ("max_grad_norm", 0.0), ("ema_decay", 1.5), ("ema_power", 0.0), ("prefix", -1)),
    ],
)
def test_settings_out_of_range(name: str, value: float, episodes: Episodes) -> None:
    settings = {"batch_size": 4, name: value}
    bc = cloning(episodes)
    with pytest.raises(LaminarError, match=rf"method\.{name} must be .*, got {value}"):
        BehaviorCloning(bc.product(), episodes, Config(**settings), bc.context)


def test_a_prefix_is_drawn_for_each_chunk_and_shared_out(episodes: Episodes) -> None:
    policy = GenerativePolicy.build(PolicyConfig(chunk=4), MLPConfig(width=8), episodes, prefix=2)
    context = Context(steps=100, generator=torch.Generator().manual_seed(0))
    bc = BehaviorCloning(policy, episodes, Config(batch_size=300, prefix=2), context)
    _, draws = bc._draw()
    assert torch.bincount(draws[-1]).tolist() == pytest.approx([100, 100, 100], abs=30)
    assert all(len(draw) == 300 for draw in draws)
    assert torch.isfinite(bc.update(0)["loss"])
    assert bc.product().prefix == 2


@pytest.mark.parametrize(("built", "asked"), [(0, 2), (2, 0), (2, 3)])
def test_a_policy_of_another_prefix_is_refused(episodes: Episodes, built: int, asked: int) -> None:
    policy = GenerativePolicy.build(PolicyConfig(chunk=4), MLPConfig(width=8), episodes, prefix=built)
    with pytest.raises(
        LaminarError, match=rf"prefix of {built} actions.*one of {asked}; .*method\.prefix={built} goes on"
    ):
        BehaviorCloning(policy, episodes, Config(prefix=asked), Context(steps=1, generator=torch.Generator()))
