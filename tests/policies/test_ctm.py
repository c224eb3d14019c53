"""Consistency trajectories against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies.networks import Network
from laminar.policies.networks.mlp import MLP
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes import solvers
from laminar.policies.processes.ctm import CTM, Config
from laminar.policies.processes.diffusion import Config as DiffusionConfig
from laminar.policies.processes.diffusion import Diffusion
from laminar.policies.processes.flow import Config as FlowConfig
from laminar.policies.processes.flow import Flow
from laminar.policies.processes.solver_schedules import SolverSchedule, SolverStep
from laminar.policies.processes.solvers import Level

PATHS = {
    "straight": {},
    "cosine-100": {"schedule": "cosine", "levels": 100},
    "cosine": {"schedule": "cosine"},
    "vp": {"schedule": "vp"},
    "linear-50": {"schedule": "linear", "levels": 50},
}
paths = pytest.mark.parametrize("settings", PATHS.values(), ids=PATHS)


class Analytic(Network):
    """Any function of (x, times, cond) as a network."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        return self.function(x, times, cond)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def times(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def network_for(process: CTM, data: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Analytic:
    """Return the network whose g(x_t, t, s) is `data(x_t, t, s)`, by undoing the scales around it."""

    def outputs(x_in: Tensor, both: Tensor, cond: Tensor) -> Tensor:
        t, s = both[:, :1], both[:, 1:]
        alpha, sigma = process.alpha_sigma(t)
        std = process.config.data_std
        variance = alpha**2 * std**2 + sigma**2
        x = x_in * variance.sqrt()
        return (data(x, t, s) - alpha * std**2 / variance * x) / (sigma * std / variance.sqrt()).clamp(min=1e-6)

    return Analytic(outputs)


def small(n_times: int = 2, seed: int = 0) -> MLP:
    torch.manual_seed(seed)
    return MLP(MLPConfig(width=16, depth=2), horizon=1, action_dim=2, history=1, condition_dim=1, n_times=n_times)


@paths
def test_a_jump_to_its_own_time_stays(settings: dict) -> None:
    process = CTM(Config(**settings))
    t = times(0.0, 0.1, 0.5, 0.9, 1.0)
    x = normal(5, 1, 2)
    assert torch.equal(process.move(x, 7 * normal(5, 1, 2, seed=1), t, t), x)


@paths
def test_a_jump_to_time_zero_gives_the_data(settings: dict) -> None:
    process = CTM(Config(**settings))
    t, data = times(0.1, 0.5, 1.0), normal(3, 1, 2, seed=1)
    assert torch.equal(process.move(normal(3, 1, 2), data, t, torch.zeros_like(t)), data)


def test_a_straight_jump_is_the_papers_formula() -> None:
    process = CTM(Config())
    t, s, x, data = times(0.3, 0.7, 1.0), times(0.1, 0.5, 0.2), normal(3, 1, 2), normal(3, 1, 2, seed=1)
    ratio = (s / t)[:, :, None]
    torch.testing.assert_close(process.move(x, data, t, s), ratio * x + (1 - ratio) * data)


def test_a_jump_is_a_step_of_the_teachers_solver() -> None:
    """Euler on a straight path, DDIM with the diffusion's own alpha and sigma on the other."""
    x, data = normal(3, 1, 2), normal(3, 1, 2, seed=1)
    t, s = torch.full((3, 1), 0.7), torch.full((3, 1), 0.4)
    euler = solvers.euler(lambda x, t: (x - data) / t, x, [0.7, 0.4])[-1]
    torch.testing.assert_close(CTM(Config()).move(x, data, t, s), euler)
    schedule = Diffusion(DiffusionConfig()).schedule
    ddim = solvers.ddim(lambda x, level: data, x, [schedule.level(0.7), schedule.level(0.4)])[-1]
    torch.testing.assert_close(CTM(Config(schedule="cosine", levels=100)).move(x, data, t, s), ddim)


def test_teachers_denoise_many_times_at_once() -> None:
    """A flow and a diffusion see the clean data at times that differ from row to row, as their own samplers do."""
    x, cond, network = normal(3, 1, 2), normal(3, 1, 1, seed=1), small(n_times=1)
    t = times(0.2, 0.5, 1.0)
    diffusion = Diffusion(DiffusionConfig(clip=0.5))
    seen = diffusion.denoise(network, x, t, cond)
    for row, time in enumerate((0.2, 0.5, 1.0)):
        alone = diffusion.predict_data(network, x, diffusion.schedule.level(time), cond)
        torch.testing.assert_close(seen[row], alone[row])
    flow = Flow(FlowConfig(steps=1))
    start = torch.ones(3, 1)
    torch.testing.assert_close(flow.denoise(network, x, start, cond), flow.sample(network, x, cond))
    assert not torch.equal(flow.denoise(network, x, t, cond)[0], flow.denoise(network, x, start, cond)[0])


@paths
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_sampling_reaches_a_point_mass_exactly(settings: dict, steps: int) -> None:
    process, target = CTM(Config(**settings)), torch.tensor([0.3, -0.6]).expand(4, 1, 2)
    network = network_for(process, lambda x, t, s: target)
    path = process.path(network, normal(4, 1, 2), torch.zeros(4, 1, 1), steps)
    assert len(path) == steps + 1
    torch.testing.assert_close(path[-1], target, rtol=1e-4, atol=1e-4)


@paths
def test_sampling_multiplies_the_scales_out_rightly(settings: dict) -> None:
    """The path's numbers give what the training's tensors do."""
    process, network, cond = CTM(Config(**settings)), small(), normal(4, 1, 1, seed=2)
    x = noise = normal(4, 1, 2)
    for t, s in ((1.0, 0.5), (0.5, 0.0)):
        both = torch.full((4, 1), t), torch.full((4, 1), s)
        x = process.move(x, process.aim(network, x, *both, cond), *both)
    torch.testing.assert_close(process.sample(network, noise, cond, 2), x, rtol=1e-4, atol=1e-5)


def test_draws_are_on_the_grid_and_in_order() -> None:
    process = CTM(Config(times=8, solver_steps=3, one_call_share=0.25))
    noise, t, u, s = process.draw(torch.empty(4000, 3, 2), generator())
    assert noise.shape == (4000, 3, 2)
    for time in (t, u, s):
        assert torch.equal((time * 8).round() / 8, time)
    assert bool((s <= u).all() and (u < t).all() and (t - u <= 3 / 8).all())
    free = slice(0, 3000)
    assert bool((t[3000:] == 1).all() and (s[3000:] == 0).all())
    assert set((t[free] * 8).flatten().tolist()) == set(range(1, 9))
    assert set(((t - u)[free] * 8).round().flatten().tolist()) == {1, 2, 3}
    assert 0.45 < (s / t)[free][t[free] == 1].mean() * 8 / 7 < 0.55  # s uniform below t


STD = 0.4  # of the Gaussian data below
GRID = 10


def gaussian_denoiser(x: Tensor, t: Tensor) -> Tensor:
    """E[x | x_t] of N(0, STD^2) on a straight path."""
    alpha, sigma = 1 - t[:, :, None], t[:, :, None]
    return alpha * STD**2 / ((alpha * STD) ** 2 + sigma**2) * x


def euler_factors() -> Tensor:
    """(GRID + 1,) what Euler's steps on the grid multiply the noise by, from t = 1 down to t = k / GRID at k."""
    factors = [1.0]
    for k in range(GRID, 0, -1):
        t, s = torch.tensor([[k / GRID]]), (k - 1) / GRID
        data = gaussian_denoiser(torch.ones(1, 1, 1), t).item()
        factors.append(factors[-1] * (s / (k / GRID) + (1 - s / (k / GRID)) * data))
    return torch.tensor(factors[::-1])


def exact_jumps(process: CTM) -> Analytic:
    """The network whose jumps are the linear teacher's Euler steps, multiplied up."""
    table = euler_factors()

    def data(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        factor = table[(s * GRID).round().long()] / table[(t * GRID).round().long()]  # (B, 1) of the whole jump
        ratio = (s / t.clamp(min=1e-6))[:, :, None]
        jump = (factor[:, :, None] * x - ratio * x) / (1 - ratio).clamp(min=1e-6)
        return torch.where((s == t)[:, :, None], gaussian_denoiser(x, t), jump)

    return network_for(process, data)


def test_the_jumps_of_a_linear_teacher_have_no_loss_and_others_have() -> None:
    process = CTM(Config(times=GRID, solver_steps=3))
    network = exact_jumps(process)
    x, cond = STD * normal(512, 1, 2), torch.zeros(512, 1, 1)
    draws = process.draw(x, generator(3))
    _, metrics = process.consistency(network, network, gaussian_denoiser, x, cond, None, draws)
    assert metrics["consistency"] < 1e-10
    noise = normal(512, 1, 2, seed=4)
    torch.testing.assert_close(process.sample(network, noise, cond, 1), euler_factors()[0] * noise, atol=1e-5, rtol=0)
    longer = Analytic(lambda x, both, cond: network(x, both, cond) + 0.1)
    _, metrics = process.consistency(longer, network, gaussian_denoiser, x, cond, None, draws)
    assert metrics["consistency"] > 1e-4
    _, metrics = process.consistency(network, network, lambda x, t: 0.9 * gaussian_denoiser(x, t), x, cond, None, draws)
    assert metrics["consistency"] > 1e-6


def test_ends_are_compared_at_time_zero() -> None:
    """Slow weights that send everything to one point hide all differences before it."""
    process, x = CTM(Config()), normal(64, 1, 2)
    slow = network_for(process, lambda x, t, s: torch.ones_like(x))
    t, u, s = (torch.full((64, 1), value) for value in (0.8, 0.6, 0.5))
    inputs = (gaussian_denoiser, x, torch.zeros(64, 1, 1), None)
    _, metrics = process.consistency(small(), slow, *inputs, (normal(64, 1, 2, seed=1), t, u, s))
    assert metrics["consistency"] < 1e-10
    _, metrics = process.consistency(small(), slow, *inputs, (normal(64, 1, 2, seed=1), t, u, torch.zeros_like(s)))
    assert metrics["consistency"] > 1e-2


def test_the_denoising_loss_is_added() -> None:
    """Its minimum is E[x | x_t], where the loss is the variance that is left."""
    process = CTM(Config(times=GRID))
    network = exact_jumps(process)
    x, cond = STD * normal(100_000, 1, 1), torch.zeros(100_000, 1, 1)
    noise, t, u, s = process.draw(x, generator(3))
    loss, metrics = process.consistency(network, network, gaussian_denoiser, x, cond, None, (noise, t, u, s), 0.5)
    left = STD**2 * t**2 / (((1 - t) * STD) ** 2 + t**2)
    torch.testing.assert_close(metrics["denoising"], left.mean(), rtol=0.02, atol=0)
    torch.testing.assert_close(loss, metrics["consistency"] + 0.5 * metrics["denoising"])


def test_slow_weights_get_no_gradient_and_the_input_does() -> None:
    process, network, slow = CTM(Config()), small(), small(seed=1)
    inputs = (gaussian_denoiser, normal(64, 1, 2), torch.zeros(64, 1, 1), None)
    draws = process.draw(inputs[1], generator(2))
    process.consistency(network, slow.requires_grad_(False), *inputs, draws)[0].backward()
    through = [parameter.grad.clone() for parameter in network.parameters()]
    assert all(gradient.abs().sum() > 0 for gradient in through)
    alone = CTM(Config())
    alone.objective(network := small(), inputs[1], inputs[2], None, draws)[0].backward()
    copy = deepcopy(network).requires_grad_(False)
    expected = small()

    def own(x: Tensor, t: Tensor) -> Tensor:
        return alone.aim(copy, x, t, t, inputs[2])

    alone.consistency(expected, copy, own, *inputs[1:], draws)[0].backward()
    for mine, theirs in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


@paths
def test_a_schedules_times_are_followed_and_no_more(settings: dict) -> None:
    process, network, noise, cond = CTM(Config(**settings)), small(), normal(4, 1, 2), normal(4, 1, 1, seed=2)
    halves = SolverSchedule((SolverStep(1.0), SolverStep(0.5)))
    assert torch.equal(process.sample(network, noise, cond, halves), process.sample(network, noise, cond, 2))
    uneven = process.sample(network, noise, cond, SolverSchedule((SolverStep(1.0), SolverStep(0.8))))
    assert not torch.equal(uneven, process.sample(network, noise, cond, 2))
    with pytest.raises(LaminarError, match="times of a solver schedule only"):
        process.sample(network, noise, cond, SolverSchedule((SolverStep(1.0), SolverStep(0.5, order=2))))


@paths
def test_levels_of_the_path_are_those_of_the_loss(settings: dict) -> None:
    process = CTM(Config(**settings))
    for t in (0.1, 0.5, 1.0):
        alpha, sigma = process.alpha_sigma(times(t))
        level = Level(t, 1 - t, t) if process.schedule is None else process.schedule.level(t)
        torch.testing.assert_close(torch.tensor([level.alpha, level.sigma]), torch.stack([alpha, sigma]).flatten())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"times": 0}, "times must be at least 1, got 0"),
        ({"solver_steps": 0}, "solver_steps must be at least 1"),
        ({"one_call_share": 1.5}, "one_call_share must be a share"),
        ({"data_std": 0.0}, "data_std must be above 0"),
        ({"schedule": "sine"}, "schedule must be straight, cosine, linear, vp or null, got sine"),
        ({"levels": 100}, "a straight path has none"),
        ({"schedule": "cosine", "levels": 50, "times": 7}, "no multiple of times=7"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        CTM(Config(**settings))
