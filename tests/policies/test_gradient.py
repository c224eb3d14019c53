"""Guidance by a gradient: what it amounts to, its Jacobian, and a tilted Gaussian in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies import PROCESSES, GenerativePolicy
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, Guided, guide
from laminar.policies.guided.judge import Judge
from laminar.policies.processes import Process, guides
from laminar.policies.processes.guides import Guide
from laminar.policies.processes.solvers import Level

MakePolicy = Callable[..., GenerativePolicy]
MakeGuided = Callable[..., Guided]
CENTER, SPREAD = 0.2, 0.5


class Gaussian(torch.nn.Module):
    """The network of N(CENTER, SPREAD^2): the velocity of a flow, or the data of a diffusion."""

    def __init__(self, process: Any) -> None:
        super().__init__()
        self.process = process

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        t = times[:, :, None]
        alpha, sigma = (
            (1 - t, t) if self.process.noise_path[0] == "straight" else self.process.schedule.alpha_sigma(times)
        )
        data = CENTER + alpha * SPREAD**2 / ((alpha * SPREAD) ** 2 + sigma**2) * (x - alpha * CENTER)
        return (x - data) / t if self.process.noise_path[0] == "straight" else data


def processes(steps: int) -> dict[str, Process]:
    settings: dict[str, dict[str, Any]] = {
        "flow": {"steps": steps},
        "diffusion": {"steps": steps, "levels": None, "prediction": "data", "clip": None},
    }
    return {name: PROCESSES.member_class(name)(PROCESSES.config_class(name)(**one)) for name, one in settings.items()}


@pytest.mark.parametrize("name", ["flow", "diffusion"])
def test_a_linear_value_shifts_a_gaussian_by_its_covariance(name: str) -> None:
    """There log E[exp r | x_t] is known, and r at the extrapolated data with the exact Jacobian has its gradient."""
    slope = 0.8
    process = processes(400)[name]
    noise = torch.randn(500, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    along = Guide(lambda x, level, data: torch.full_like(data, slope), exact=True, most=1e6)
    network: Any = Gaussian(process)
    plain = process.sample(network, noise, torch.zeros(500, 1, 1))
    guided = process.sample(network, noise, torch.zeros(500, 1, 1), guide=along)
    torch.testing.assert_close(guided - plain, torch.full_like(plain, slope * SPREAD**2), atol=5e-3, rtol=0)
    assert abs(float((plain.mean() - CENTER) - SPREAD * noise.mean())) < 5e-3
    bounded = process.sample(
        network, noise, torch.zeros(500, 1, 1), guide=Guide(along.direction, exact=True, most=10.0)
    )
    torch.testing.assert_close(bounded, guided, atol=1e-2, rtol=0)  # what the bound cuts is at the noise, and little


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["flow", "diffusion"])
def test_the_correction_of_velocity_and_noise(name: str, exact: bool) -> None:
    """One step: v -= t / (1 - t) J^T g for a flow, eps -= sigma J^T g for a diffusion, of the same g; J by autograd."""
    levels = processes(4)[name].noise_levels()
    level, network = levels[2], torch.nn.Linear(3, 3).double()
    x = torch.randn(5, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def predict(x: Tensor, level: Level) -> Tensor:
        return torch.tanh(network(x)) + level.time * x

    def value(data: Tensor) -> Tensor:
        return (data.sin() * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).sum()

    def gradient(x: Tensor, level: Level, data: Tensor) -> Tensor:
        return torch.func.grad(value)(data)

    most = 1e6 if exact else 1.0
    corrected = Guide(gradient, exact, most).around(predict)(x, level)
    leaf = x.clone().requires_grad_()
    data = predict(leaf, level)
    wanted = torch.autograd.grad(value(data), leaf if exact else data)[0]
    weight = min(level.sigma**2 / level.alpha, most)
    torch.testing.assert_close(corrected, data + weight * wanted)
    if exact:
        implied = [(x - level.alpha * one) / level.sigma for one in (corrected, data)]
        torch.testing.assert_close(implied[0], implied[1] - level.sigma * wanted)
        if name == "flow":
            speeds = [(x - one) / level.time for one in (corrected, data)]
            torch.testing.assert_close(speeds[0], speeds[1] - level.time / (1 - level.time) * wanted)


def test_the_weight_is_bounded_where_there_is_no_data() -> None:
    along = Guide(lambda x, level, data: data)
    assert [along.weight(Level(t, 1 - t, t)) for t in (1.0, 0.9, 0.5, 0.0)] == [1.0, 1.0, 0.5, 0.0]
    assert Guide(along.direction, True, guides.MOST_EXACT).weight(Level(1.0, 0.0, 1.0)) == guides.MOST_EXACT


@pytest.mark.parametrize("settings", [{"solver": "heun"}, {"solver": "unipc"}, {}])
def test_every_solver_of_a_flow_takes_a_guide(make_critical: MakeGuided, settings: dict[str, Any]) -> None:
    policy = make_critical("flow", settings)
    assert value_of(policy, Acting(guidance="gradient", temperature=0.05)) > value_of(policy, Acting())


@pytest.mark.parametrize("solver", ["ddim", "ddpm", "dpmpp_1", "dpmpp_2s", "dpmpp_2m", "unipc"])
def test_every_solver_of_a_diffusion_takes_a_guide(make_critical: MakeGuided, solver: str) -> None:
    policy = make_critical("diffusion", {"solver": solver, "steps": 6})
    assert value_of(policy, Acting(guidance="gradient", temperature=0.05)) > value_of(policy, Acting())


@pytest.mark.parametrize("process", ["meanflow", "ctm"])
def test_processes_that_jump_take_one_step_at_the_sample(make_critical: MakeGuided, process: str) -> None:
    policy = make_critical(process, chunk=2)
    acting = Acting(guidance="gradient", temperature=0.5, strength=0.1)
    guided, base = guide(policy, acting), generative(policy)
    obs, noise = observations(6), noise_for(guided, 6)
    start = noise[:, 0, :-1].view(6, 2, 2)
    with torch.no_grad():
        cond = policy.encode({"observation": obs[:, None]})
        sample = base.process.sample(base.network, start, cond)
        assert policy.critic is not None
        moved = sample + 0.1 / 0.5 * Judge(base, policy.critic).gradient(cond, sample)
        torch.testing.assert_close(guided.sample(obs, noise), base.to_raw(moved))


@pytest.mark.parametrize("jacobian", ["identity", "exact"])
@pytest.mark.parametrize("process", ["flow", "diffusion"])
def test_it_moves_and_stays_an_ordinary_policy(make_critical: MakeGuided, process: str, jacobian: str) -> None:
    policy = make_critical(process, chunk=2)
    acting = Acting(guidance="gradient", temperature=0.05, jacobian=jacobian)
    if jacobian == "identity":  # that of a network which has learned nothing points anywhere
        assert value_of(policy, acting) > value_of(policy, Acting())
    guided = guide(policy, acting)
    obs, noise = observations(5), noise_for(guided, 5)
    with torch.no_grad():
        together = guided.sample(obs, noise)
        plain, other = (
            Acting(noise_scale=1 - 1e-9),
            Acting(guidance="gradient", temperature=0.05, jacobian=_other(jacobian)),
        )
        for one in (plain, other):
            assert not torch.allclose(guide(policy, one).sample(obs, noise), together), "both Jacobians move it"
    with torch.inference_mode():
        torch.testing.assert_close(guided.sample(obs, noise), together)
    alone = torch.cat([guided.sample(obs[i : i + 1], noise[i : i + 1]) for i in range(5)]).detach()
    torch.testing.assert_close(alone, together)
    several = guide(policy, Acting(4, "argmax", guidance="gradient", temperature=0.05, jacobian=jacobian))
    assert several.noise_shape == (4, 5)
    assert several.calls().evaluations == 4 * guided.calls().evaluations == 40


def test_the_gradient_is_that_of_the_least_head_inside_the_limits(make_critical: MakeGuided) -> None:
    policy = make_critical("flow", chunk=2)
    base, critic = generative(policy), policy.critic
    assert critic is not None
    cond = torch.randn(4, 1, 3, generator=torch.Generator().manual_seed(0))
    data = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(1)) * 3
    inside = base.action_normalizer({"action": base.to_raw(data)})["action"].detach().requires_grad_()
    assert not torch.equal(inside, data)
    critic(cond.flatten(1), inside.flatten(1)).amin(dim=0).sum().backward()
    torch.testing.assert_close(Judge(base, critic).gradient(cond, data), inside.grad)


def test_wrong_settings_are_told_in_one_line(make_critical: MakeGuided, make_policy: MakePolicy) -> None:
    for process in ("meanflow", "ctm"):
        with pytest.raises(
            LaminarError, match=rf"jacobian=exact is that of a denoiser.* {process}; choose jacobian=iden"
        ):
            guide(make_critical(process), Acting(guidance="gradient", jacobian="exact"))
        with pytest.raises(LaminarError, match=rf"guidance=fk needs steps that can draw noise.* {process}; choose"):
            guide(make_critical(process), Acting(4, guidance="fk"))
    with pytest.raises(LaminarError, match=r"guidance=gradient needs a critic, and the policy has none"):
        guide(make_policy("flow"), Acting(guidance="gradient"))
    with pytest.raises(LaminarError, match=r"guidance=tree with candidates=1 has nothing to choose from"):
        Acting(guidance="tree")
    with pytest.raises(LaminarError, match=r"zscore=true has no effect with guidance=fk candidates=4"):
        Acting(4, guidance="fk", zscore=True)
    with pytest.raises(
        LaminarError, match=r"guidance must be best_of_n, gradient, fk or tree, got fks; did you mean 'fk'"
    ):
        Acting(4, guidance="fks")
    for guidance in ("fk", "tree"):
        acting = Acting(4, guidance=guidance)
        with pytest.raises(LaminarError, match=rf"guidance={guidance} takes its noise for the 10 steps of the policy"):
            guide(make_critical("flow"), acting).sample(observations(2), steps=4)


def _other(jacobian: str) -> str:
    return "exact" if jacobian == "identity" else "identity"


def observations(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * 3 + 5


def noise_for(policy: Any, count: int) -> Tensor:
    return torch.randn(count, *policy.noise_shape, generator=torch.Generator().manual_seed(1))


def value_of(policy: Guided, acting: Acting) -> float:
    """Mean value of 200 chunks."""
    guided, obs = guide(policy, acting), observations(200)
    assert policy.critic is not None
    with torch.no_grad():
        chunk = guided.sample(obs, generator=torch.Generator().manual_seed(0))
        return float(
            Judge(generative(policy), policy.critic)
            .of_chunks(policy.encode({"observation": obs[:, None]}), chunk)
            .mean()
        )
