"""Kernels: one denoising step of every process, and what each process says that it can do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES
from laminar.policies.networks import Network
from laminar.policies.networks.mlp import MLP
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes import Process
from laminar.policies.processes.diffusion import Config as DiffusionConfig
from laminar.policies.processes.diffusion import Diffusion

H, A, D, B = 3, 2, 4, 5
# Settings of each process whose steps stand alone; a new process is tried with its defaults.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "diffusion": [
        {"solver": solver, "schedule": schedule, "levels": levels, "spacing": spacing, "steps": 5, "prediction": kind}
        for solver in ("ddpm", "ddim", "dpmpp_1")
        for schedule, levels in (("cosine", 100), ("vp", 5), ("linear", None))
        for spacing, kind in (("uniform", "epsilon"), ("quadratic", "velocity"))
    ],
    "flow": [{"steps": 1}, {"steps": 4}],
    "meanflow": [{}, {"steps": 3}],
    "ctm": [{}, {"steps": 3}, {"steps": 4, "schedule": "cosine", "levels": 100}],
    "direct": [{}, {"noise": True}, {"squash": True}],
}
CASES = [(name, settings) for name in PROCESSES.names() for settings in SETTINGS.get(name, [{}])]
each_case = pytest.mark.parametrize(("name", "settings"), CASES)


class Known(Network):
    """A network that says the clean data, the condition's first actions, whatever it sees."""

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        return cond[:, :, :A].expand_as(x)


def made(name: str, **settings: Any) -> Process:
    return PROCESSES.member_class(name)(PROCESSES.config_class(name)(**settings))


def network_for(process: Process) -> MLP:
    torch.manual_seed(0)
    sizes = {"horizon": H, "action_dim": A, "history": 1, "condition_dim": D, "n_times": process.n_times}
    return MLP(MLPConfig(width=16, depth=2), **sizes)


def inputs(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise and condition."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, H, A, generator=generator), torch.randn(B, 1, D, generator=generator)


@each_case
@torch.no_grad()
def test_kernels_from_the_noise_to_the_sample_are_the_path(name: str, settings: dict[str, Any]) -> None:
    """To the bit, with the same noise on the way."""
    process = made(name, **settings)
    network, (noise, cond) = network_for(process), inputs()
    between = torch.randn(process.inner_draws, B, H, A, generator=torch.Generator().manual_seed(1))
    path = process.path(network, noise, cond, generator=between)
    assert len(path) == process.num_steps + 1
    draws, stochastic = iter(between), 0
    for k in range(process.num_steps):
        mean, std = process.kernel(network, path[k], k, cond)
        assert mean.shape == (B, H, A)
        assert type(std) is float
        assert std >= 0
        stochastic += std > 0
        assert torch.equal(mean + std * next(draws) if std > 0 else mean, path[k + 1])
    assert stochastic == process.inner_draws


@each_case
def test_there_are_no_further_steps(name: str, settings: dict[str, Any]) -> None:
    process = made(name, **settings)
    network, (noise, cond) = network_for(process), inputs()
    for k in (-1, process.num_steps):
        with pytest.raises(LaminarError, match=f"steps of this {name} are 0 to {process.num_steps - 1}, got {k}"):
            process.kernel(network, noise, k, cond)


@pytest.mark.parametrize(("schedule", "levels", "steps"), [("vp", 5, 5), ("cosine", 100, 7), ("linear", None, 4)])
def test_ddpm_is_the_posterior_of_the_earlier_state(schedule: str, levels: int | None, steps: int) -> None:
    """q(x_s | x_t, x_0): the product of N(x_s; a_s x_0, s_s^2) and N(x_t; c x_s, v), by adding precisions."""
    config = DiffusionConfig(solver="ddpm", schedule=schedule, levels=levels, steps=steps, prediction="data", clip=None)
    process = Diffusion(config)
    x, cond = (one.double() for one in inputs())
    data = cond[:, :, :A]
    for k in range(steps):
        mean, std = process.kernel(Known(), x, k, cond)
        t, s = process.levels[k], process.levels[k + 1]
        if k == steps - 1:
            torch.testing.assert_close(mean, data.expand_as(mean))
            assert std == 0.0
            continue
        c = t.alpha / s.alpha
        v = t.sigma**2 - c**2 * s.sigma**2
        precision = 1 / s.sigma**2 + c**2 / v
        expected = (s.alpha * data / s.sigma**2 + c * x / v) / precision
        torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-9)
        assert math.isclose(std, precision**-0.5, rel_tol=1e-9)


def test_a_gradient_reaches_the_weights_through_the_mean() -> None:
    process = made("diffusion", solver="ddpm", steps=5)
    network, (noise, cond) = network_for(process), inputs()
    mean, _ = process.kernel(network, noise, 2, cond)
    gradients = torch.autograd.grad(mean.sum(), list(network.parameters()))
    assert all(bool(one.any()) for one in gradients)


@pytest.mark.parametrize(
    ("name", "solver", "remedy"),
    [
        *(("diffusion", solver, "ddpm or ddim or dpmpp_1") for solver in ("dpmpp_2s", "dpmpp_2m", "unipc")),
        *(("flow", solver, "euler") for solver in ("heun", "unipc")),
    ],
)
def test_steps_of_several_evaluations_have_no_kernel(name: str, solver: str, remedy: str) -> None:
    process = made(name, solver=solver)
    network, (noise, cond) = network_for(process), inputs()
    with pytest.raises(LaminarError, match=rf"solver={solver} takes several.*choose policy\.process\.solver={remedy}"):
        process.kernel(network, noise, 0, cond)


# capabilities

STATED = ("deterministic", "learns_from_data", "teachable", "denoises", "estimates_data", "needs_smooth_network")


@each_case
@torch.no_grad()
def test_every_process_does_what_it_says(name: str, settings: dict[str, Any]) -> None:
    process = made(name, **settings)
    assert all(type(getattr(process, one)) is bool for one in (*STATED, "squashes"))
    network, (noise, cond) = network_for(process), inputs()
    other, _ = inputs(1)
    draws = torch.zeros(process.inner_draws, B, H, A)
    same = torch.equal(
        process.sample(network, noise, cond, generator=draws), process.sample(network, other, cond, generator=draws)
    )
    assert same == process.deterministic
    x, times = torch.zeros(B, H, A), torch.full((B, 1), 0.6)
    tries = {
        "learns_from_data": lambda: process.loss(network, x, cond),
        "denoises": lambda: process.denoise(network, noise, times, cond),
        "estimates_data": lambda: process.one_call(network, x, cond, None, process.draw(x)),
    }
    for capability, attempt in tries.items():
        if getattr(process, capability):
            attempt()
        else:
            with pytest.raises(LaminarError):
                attempt()
    if process.denoises:
        assert process.noise_path is not None
    if process.teachable:
        loss, metrics = process.pair_loss(network, noise, x, cond, process.draw_pair(x))
        assert loss.ndim == 0
        assert torch.equal(metrics["loss"], loss)
    if process.squashes:
        with torch.no_grad():
            network.layers[-1].bias.fill_(50.0)
        assert float(process.sample(network, noise, cond).abs().max()) == 1.0


def test_who_can_do_what() -> None:
    """The table that methods rely on."""
    found = {name: {one for one in STATED if getattr(made(name), one)} for name in PROCESSES.names()}
    expected = {
        "ctm": {"learns_from_data"},
        "diffusion": {"learns_from_data", "denoises", "estimates_data"},
        "direct": {"learns_from_data", "deterministic"},
        "flow": {"learns_from_data", "teachable", "denoises"},
        "meanflow": {"learns_from_data", "teachable", "denoises", "needs_smooth_network"},
    }
    assert {name: found[name] for name in expected} == expected
    assert {one for one in STATED if getattr(made("direct", noise=True), one)} == {"teachable"}
    assert made("direct", squash=True).squashes
    paths = {name: made(name).noise_path for name in expected}
    straight = ("straight", None)
    assert paths == {
        "ctm": straight,
        "flow": straight,
        "meanflow": straight,
        "diffusion": ("cosine", 100),
        "direct": None,
    }
    assert made("ctm", schedule="vp", levels=50).noise_path == ("vp", 50)


def test_pairs_take_the_teachers_noise_and_a_single_step_is_taught_where_its_call_is() -> None:
    x, noise = torch.zeros(B, H, A), inputs()[0]
    seen: list[tuple[Tensor, Tensor]] = []

    class Recorder(Network):
        def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
            seen.append((x, times))
            return x

    process = made("flow", steps=1)
    process.pair_loss(Recorder(), noise, x, inputs()[1], process.draw_pair(x))
    assert torch.equal(seen[0][0], noise)  # x_t at t = 1
    assert torch.equal(seen[0][1], torch.ones(B, 1))
    fresh, t = made("flow", steps=2).draw_pair(x, torch.Generator().manual_seed(3))
    usual = made("flow").draw(x, torch.Generator().manual_seed(3))
    assert torch.equal(fresh, usual[0])
    assert torch.equal(t, usual[1])


def test_networks_say_whether_they_are_smooth() -> None:
    sizes = {"horizon": 4, "action_dim": A, "history": 1, "condition_dim": D, "n_times": 1}
    for name in NETWORKS.names():
        for activation in ("silu", "gelu", "mish", "relu"):
            settings = NETWORKS.config_class(name)()
            if not hasattr(settings, "activation"):
                continue
            settings.activation = activation
            if name == "unet1d":
                settings.widths = [8, 16]
            assert NETWORKS.member_class(name)(settings, **sizes).smooth == (activation != "relu")

    class Cornered(Network):
        def __init__(self) -> None:
            super().__init__()
            self.corner = nn.LeakyReLU()

        def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
            return self.corner(x)

    assert not Cornered().smooth


# bounds


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("diffusion", {"steps": 0}, r"policy\.process\.steps must be at least 1, got 0"),
        ("diffusion", {"clip": 0.0}, r"policy\.process\.clip must be above 0, or null, got 0\.0"),
        ("diffusion", {"schedule": "cosin"}, r"must be cosine, linear or vp, got cosin; did you mean 'cosine'"),
        ("diffusion", {"spacing": "squared"}, r"spacing must be uniform, quadratic or logsnr, got squared"),
        ("flow", {"steps": 1.5}, r"policy\.process\.steps must be a whole number, at least 1, got 1\.5"),
        ("meanflow", {"time_std": math.inf}, r"policy\.process\.time_std must be above 0 and finite, got inf"),
        ("meanflow", {"time_mean": math.nan}, r"policy\.process\.time_mean must be a finite number, got nan"),
    ],
)
def test_who_makes_a_process_in_python_meets_the_same_bounds(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        made(name, **settings)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mlp", {"depth": 0}, r"network\.depth must be at least 1 and at most 1000, got 0"),
        ("mlp", {"activation": "mich"}, r"must be silu, gelu, mish, relu or tanh, got mich; did you mean 'mish'"),
        ("unet1d", {"widths": []}, r"network\.widths must be a list of numbers, each at least 1, got \[\]"),
        ("transformer", {"heads": -2}, r"network\.heads must be at least 1, got -2"),
        ("transformer", {"max_frequency": 0.0}, r"network\.max_frequency must be above 0, got 0\.0"),
    ],
)
def test_who_makes_a_network_in_python_meets_the_same_bounds(name: str, settings: dict[str, Any], message: str) -> None:
    sizes = {"horizon": 4, "action_dim": A, "history": 1, "condition_dim": D, "n_times": 1}
    with pytest.raises(LaminarError, match=message):
        NETWORKS.member_class(name)(NETWORKS.config_class(name)(**settings), **sizes)


@each_case
@torch.no_grad()
def test_kernels_of_rows_at_steps_of_their_own(name: str, settings: dict[str, Any]) -> None:
    """One network call for rows at all steps, and the numbers of `kernel`."""
    process = made(name, **settings)
    network, (noise, cond) = network_for(process), inputs()
    steps = torch.randint(process.num_steps, (B,), generator=torch.Generator().manual_seed(2))
    means, deviations = process.kernels(network, noise, steps, cond)
    assert means.shape == (B, H, A)
    assert deviations.shape == (B, 1, 1)
    for row, k in enumerate(steps.tolist()):
        mean, std = process.kernel(network, noise[row : row + 1], k, cond[row : row + 1])
        torch.testing.assert_close(means[row : row + 1], mean, rtol=1e-4, atol=1e-5)
        assert deviations[row].item() == pytest.approx(std, abs=1e-6)


@pytest.mark.parametrize(("name", "solver"), [("flow", "heun"), ("flow", "unipc"), ("diffusion", "dpmpp_2m")])
def test_steps_of_several_calls_have_no_kernels(name: str, solver: str) -> None:
    process = made(name, solver=solver, steps=3)
    network, (noise, cond) = network_for(process), inputs()
    with pytest.raises(LaminarError, match=f"solver={solver} takes several network calls into a step"):
        process.kernels(network, noise, torch.zeros(B, dtype=torch.long), cond)


@pytest.mark.parametrize("name", ["flow", "meanflow", "diffusion"])
def test_the_loss_is_the_squared_error_of_the_regression(name: str) -> None:
    process = made(name)
    network, (x, cond) = network_for(process), inputs()
    draws = process.draw(x, torch.Generator().manual_seed(3))
    output, target = process.regression(network, x, cond, draws)
    assert output.shape == target.shape == x.shape
    loss, _ = process.objective(network, x, cond, None, draws)
    torch.testing.assert_close((output - target).square().mean(), loss)
