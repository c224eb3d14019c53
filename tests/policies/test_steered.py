"""A noise actor, and a base that it steers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.guided import Acting, Guided, guide, new_critic
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.noise_actor import NoiseActor, NoiseActorConfig, unit_deviation
from laminar.policies.steered import Steered, as_noise, new_actor

Make = Callable[..., GenerativePolicy]
SMALL = NoiseActorConfig(width=8, depth=1)


def actor_of(dim: int, bound: float, scale: float = 0.3) -> NoiseActor:
    """Return an actor whose head is not zero any more."""
    torch.manual_seed(0)
    actor = NoiseActor(SMALL, 3, dim, bound)
    with torch.no_grad():
        actor.head.weight.normal_(0, scale)
        actor.head.bias[:dim].normal_(0, scale)
    return actor


def steered(make_policy: Make, repeated: bool = False, **settings: Any) -> Steered:
    torch.manual_seed(0)
    base = make_policy("flow", "mlp", {"steps": 2}, chunk=4, **settings).eval()
    actor = new_actor(base, SMALL, 1.5, repeated)
    with torch.no_grad():
        actor.head.weight.normal_(0, 0.5)
    return Steered(base, actor, repeated).eval()


def test_the_density_integrates_to_one() -> None:
    actor = actor_of(1, 1.5)
    cond = torch.tensor([[0.3, -1.0, 2.0]])
    mean, log_std = actor(cond)
    w = torch.linspace(-1.5 + 1e-4, 1.5 - 1e-4, 20_001).unsqueeze(1)
    noise = (torch.atanh(w / 1.5) - mean) / log_std.exp()
    again, density = actor.sample_with_density(cond.expand(len(w), -1), noise)
    torch.testing.assert_close(again, w, atol=2e-5, rtol=0)
    assert torch.trapezoid(density.exp(), w[:, 0]).item() == pytest.approx(1.0, abs=2e-3)


def test_the_density_is_that_of_the_change_of_variables() -> None:
    actor = actor_of(4, 2.0).double()
    cond = torch.randn(1, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise = torch.randn(1, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    w, density = actor.sample_with_density(cond, noise)
    torch.testing.assert_close(w, actor.sample(cond, noise))
    jacobian: Any = torch.autograd.functional.jacobian(lambda e: actor.sample(cond, e[None])[0], noise[0])
    gaussian = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum()
    torch.testing.assert_close(density[0], gaussian - jacobian.det().abs().log())


def test_noise_far_outside_is_finite() -> None:
    actor = actor_of(2, 2.0)
    w, density = actor.sample_with_density(torch.zeros(1, 3), torch.tensor([[60.0, -60.0]]))
    assert w.abs().max() <= 2.0
    assert bool(density.isfinite().all())


@pytest.mark.parametrize("bound", [1.5, 2.0, 4.0])
def test_it_begins_as_the_noise_that_the_base_knows(bound: float) -> None:
    actor = NoiseActor(SMALL, 3, 1, bound)
    noise = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0))
    for cond in (torch.zeros(1, 3), torch.tensor([[5.0, -3.0, 1.0]])):
        w = actor.sample(cond.expand(len(noise), -1), noise)
        assert w.mean().item() == pytest.approx(0.0, abs=0.01)
        assert w.std().item() == pytest.approx(1.0, abs=0.01)
        assert w.abs().max() <= bound


def test_a_bound_below_one_is_not_sat_on() -> None:
    scale, bound = unit_deviation(0.5), 0.5
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    assert (bound * torch.tanh(scale * noise)).std().item() == pytest.approx(0.45, abs=0.01)
    assert math.isfinite(scale)


@pytest.mark.parametrize("repeated", [False, True])
def test_it_is_the_base_at_the_chosen_noise(make_policy: Make, repeated: bool) -> None:
    policy = steered(make_policy, repeated)
    assert policy.base is not None
    obs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(5, *policy.noise_shape, generator=torch.Generator().manual_seed(1))
    assert policy.noise_shape == (policy.base.noise_shape[1:] if repeated else policy.base.noise_shape)
    cond = policy.encode(policy.windows(obs))
    chosen = as_noise(policy, policy.noise_actor.sample(cond.flatten(1), noise.flatten(1)))
    assert chosen.shape == (5, *policy.base.noise_shape)
    assert chosen.abs().max() <= 1.5
    if repeated:
        assert torch.equal(chosen, chosen[:, :1].expand_as(chosen))
    torch.testing.assert_close(policy.sample(obs, noise), policy.base.sample(obs, chosen))


@pytest.mark.parametrize("repeated", [False, True])
def test_it_is_saved_with_its_base(make_policy: Make, tmp_path: Path, repeated: bool) -> None:
    policy = steered(make_policy, repeated, history=2)
    assert policy.base is not None
    critic = new_critic(policy.base, CriticConfig(width=8, depth=1), 2)  # type: ignore[arg-type]
    whole = Guided(policy, critic)
    whole.save(tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert isinstance(loaded, Guided)
    assert isinstance(loaded.base, Steered)
    assert loaded.base.noise_actor.bound == 1.5
    assert loaded.critic is not None
    assert loaded.critic.action_dim == 2 * policy.spec.action_dim
    obs = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    for acting in (Acting(), Acting(candidates=4, selection="argmax")):
        mine, theirs = guide(whole, acting).eval(), guide(loaded, acting).eval()
        noise = torch.randn(3, *mine.noise_shape, generator=torch.Generator().manual_seed(1))
        assert torch.equal(mine.sample(obs, noise), theirs.sample(obs, noise))
    assert loaded.checkpoint_hash() == whole.checkpoint_hash()


def test_less_noise_is_a_steadier_actor(make_policy: Make) -> None:
    """Its mean at noise 0, as for any policy."""
    still = guide(steered(make_policy), Acting(noise_scale=0.0))
    obs, generator = torch.zeros(4, 3), torch.Generator().manual_seed(0)
    chunks = still.sample(obs, generator=generator)
    assert np.ptp(chunks.detach().numpy(), axis=0).max() == 0


@pytest.mark.parametrize(
    ("process", "settings", "told"),
    [
        ("diffusion", {"solver": "ddpm", "steps": 4}, "draws more on the way; choose policy.process.solver=ddim"),
        ("direct", {}, "this one is deterministic; clone another one"),
    ],
)
def test_what_noise_cannot_steer(make_policy: Make, process: str, settings: dict[str, Any], told: str) -> None:
    base = make_policy(process, "mlp", settings)
    with pytest.raises(LaminarError, match=told):
        Steered(base, NoiseActor(SMALL, 3, 2, 1.0))
