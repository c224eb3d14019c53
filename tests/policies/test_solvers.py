"""Solvers against the analytic Gaussian: x ~ N(m, s^2) diffused, whose exact denoiser and ODE flow are known."""

import math
from itertools import pairwise

import pytest
import torch

from laminar.errors import LaminarError
from laminar.policies.processes import solvers
from laminar.policies.processes.noise_schedules import SCHEDULES, NoiseSchedule, discrete, grid
from laminar.policies.processes.solvers import Level

MEAN, STD = 0.7, 0.5


def marginal_std(level: Level) -> float:
    return math.sqrt((level.alpha * STD) ** 2 + level.sigma**2)


def denoise(x: torch.Tensor, level: Level) -> torch.Tensor:
    """E[data | x] for Gaussian data."""
    gain = level.alpha * STD**2 / marginal_std(level) ** 2
    return MEAN + gain * (x - level.alpha * MEAN)


def exact(x: torch.Tensor, start: Level, end: Level) -> torch.Tensor:
    """The probability-flow ODE keeps the standardized value."""
    return end.alpha * MEAN + marginal_std(end) / marginal_std(start) * (x - start.alpha * MEAN)


def levels(count: int, last: float = 0.05) -> list[Level]:
    schedule = NoiseSchedule("vp", None)
    return [schedule.level(1 + (last - 1) * i / count) for i in range(count + 1)]


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(64, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("solver", "order"), [("ddim", 1), ("dpmpp_1", 1), ("dpmpp_2s", 2), ("dpmpp_2m", 2)], ids=lambda v: str(v)
)
def test_order_of_convergence(solver: str, order: int, noise: torch.Tensor) -> None:
    errors = []
    for count in (32, 64, 128):
        path = levels(count)
        sample = getattr(solvers, solver)(denoise, noise, path)[-1]
        errors.append(float((sample - exact(noise, path[0], path[-1])).abs().max()))
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert all(abs(slope - order) < 0.3 for slope in slopes), (errors, slopes)


@pytest.mark.parametrize("name", ["cosine", "linear", "vp"])
@pytest.mark.parametrize("solver", ["ddim", "dpmpp_1", "dpmpp_2s", "dpmpp_2m"])
def test_gaussian_mean_and_variance_on_discrete_levels(name: str, solver: str) -> None:
    x = torch.randn(20_000, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    path = grid(NoiseSchedule(name, 100), 50, "uniform")
    start = path[0].alpha * MEAN + marginal_std(path[0]) * x  # at t = 1 a little of the data is left, most with vp
    sample = getattr(solvers, solver)(denoise, start, path)[-1]
    assert abs(float(sample.mean()) - MEAN) < 0.02
    assert abs(float(sample.std()) - STD) < 0.03


def test_ddpm_mean_and_variance() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(20_000, 1, 1, dtype=torch.float64, generator=generator)
    path = solvers.ddpm(denoise, x, grid(NoiseSchedule("vp", 100), 100, "uniform"), solvers.standard_normal(generator))
    assert abs(float(path[-1].mean()) - MEAN) < 0.02
    assert abs(float(path[-1].std()) - STD) < 0.03


def test_ddpm_step_is_the_published_posterior() -> None:
    """One step equals (sqrt(abar') beta x0 + sqrt(a) (1 - abar') x) / (1 - abar) + sqrt(beta~) z (Ho et al. eq. 7)."""
    now, after = grid(NoiseSchedule("cosine", 20), 20, "uniform")[7:9]
    x = torch.tensor([[[0.3]], [[-1.2]]], dtype=torch.float64)
    data = torch.tensor([[[0.5]], [[-0.4]]], dtype=torch.float64)
    z = torch.tensor([[[1.0]], [[-2.0]]], dtype=torch.float64)
    a = (now.alpha / after.alpha) ** 2
    beta = 1 - a
    mean = (after.alpha * beta * data + math.sqrt(a) * after.sigma**2 * x) / now.sigma**2
    expected = mean + math.sqrt(after.sigma**2 / now.sigma**2 * beta) * z
    got = solvers.ddpm(lambda x, level: data, x, [now, after], lambda like: z)[-1]
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_ddpm_draws_no_noise_in_the_last_step() -> None:
    draws = []
    solvers.ddpm(
        denoise,
        torch.zeros(1, 1, 1),
        grid(NoiseSchedule("vp", 5), 5, "uniform"),
        lambda like: draws.append(like) or torch.zeros_like(like),
    )
    assert len(draws) == 4


def test_dpmpp_1_is_ddim(noise: torch.Tensor) -> None:
    path = grid(NoiseSchedule("cosine", 100), 10, "quadratic")
    for a, b in zip(solvers.ddim(denoise, noise, path), solvers.dpmpp_1(denoise, noise, path), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("solver", ["dpmpp_2s", "dpmpp_2m"])
def test_few_steps_stay_finite(solver: str, count: int, noise: torch.Tensor) -> None:
    """Second-order solvers end at first order, where sigma = 0 makes the correction undefined."""
    sample = getattr(solvers, solver)(denoise, noise, grid(NoiseSchedule("vp", 5), count, "uniform"))[-1]
    assert torch.isfinite(sample).all()
    if count == 1:
        torch.testing.assert_close(sample, solvers.ddim(denoise, noise, grid(NoiseSchedule("vp", 5), 1, "uniform"))[-1])


def test_multistep_history_does_not_survive_a_call(noise: torch.Tensor) -> None:
    path = grid(NoiseSchedule("vp", None), 10, "uniform")
    first = solvers.dpmpp_2m(denoise, noise, path)[-1]
    solvers.dpmpp_2m(denoise, 100 * noise, path)
    assert torch.equal(first, solvers.dpmpp_2m(denoise, noise, path)[-1])


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_flow_solvers_converge(solver: str, order: int, noise: torch.Tensor) -> None:
    """dx/dt = x from t = 1 to 0.2 has the solution x e^{-0.8}; Heun's last step is Euler's, so it is left out."""
    errors = []
    for count in (20, 40, 80):
        times = [1 - 0.8 * i / count for i in range(count + 1)]
        extra = [0.2] if solver == "euler" else [0.2, 0.2]
        path = getattr(solvers, solver)(lambda x, t: x, noise, times + extra[1:])
        errors.append(float((path[-1] - noise * math.exp(-0.8)).abs().max()))
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(abs(slope - order) < 0.15 for slope in slopes), slopes


def test_heun_counts_2n_minus_1_evaluations() -> None:
    calls = []
    solvers.heun(lambda x, t: calls.append(t) or x, torch.ones(1, 1, 1), [1, 0.75, 0.5, 0.25, 0])
    assert len(calls) == 7


def test_diffusion_ql_betas() -> None:
    """The VP schedule of Diffusion-QL with 5 steps has these betas and cumulative product."""
    products = discrete("vp", 5)
    betas = [1 - after / before for before, after in pairwise(products)]
    assert [round(beta, 3) for beta in betas] == [0.196, 0.459, 0.636, 0.755, 0.835]
    assert round(products[-1], 4) == 0.0064


@pytest.mark.parametrize("name", SCHEDULES)
def test_discrete_and_continuous_views_agree(name: str) -> None:
    table = discrete(name, 1000)
    for k in (1, 100, 500, 900):
        assert abs(table[k] - SCHEDULES[name](k / 1000)) < 2e-3


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("count", [None, 7, 100])
def test_tensor_and_float_levels_agree(name: str, count: int | None) -> None:
    schedule = NoiseSchedule(name, count)
    times = (
        torch.tensor([[1 / 7 * k] for k in range(1, 8)]) if count in (None, 7) else torch.tensor([[0.01], [0.5], [1.0]])
    )
    alpha, sigma = schedule.alpha_sigma(times)
    for row, t in enumerate(times[:, 0].tolist()):
        level = schedule.level(t)
        assert abs(float(alpha[row]) - level.alpha) < 1e-5
        assert abs(float(sigma[row]) - level.sigma) < 1e-5


@pytest.mark.parametrize("spacing", ["uniform", "quadratic", "logsnr"])
@pytest.mark.parametrize("count", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("total", [100, None])
def test_grids_fall_strictly_from_noise_to_data(spacing: str, count: int, total: int | None) -> None:
    path = grid(NoiseSchedule("cosine", total), count, spacing)
    assert len(path) == count + 1
    assert path[0].time == 1.0
    assert path[-1] == Level(0.0, 1.0, 0.0)
    assert all(a.time > b.time for a, b in pairwise(path))


def test_bad_grids_are_refused() -> None:
    with pytest.raises(LaminarError, match=r"6 sampling steps.*5 levels"):
        grid(NoiseSchedule("vp", 5), 6, "uniform")
    with pytest.raises(LaminarError, match="known: uniform, quadratic, logsnr"):
        grid(NoiseSchedule("vp", 5), 2, "squared")
    with pytest.raises(LaminarError, match="did you mean 'cosine'"):
        NoiseSchedule("cosin", 5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_logsnr_spacing_is_even_after_the_first_step(name: str) -> None:
    """Also on a discrete, capped schedule, whose last level lies far out."""
    path = grid(NoiseSchedule(name, 1000), 10, "logsnr")
    gaps = [after.log_snr - before.log_snr for before, after in pairwise(path[1:-1])]
    assert max(gaps) < 1.3 * min(gaps), gaps
