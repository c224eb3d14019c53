"""The unified solver: what it reduces to, its order in closed form, and both ends, where log SNR is infinite."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from laminar.policies.processes import solvers
from laminar.policies.processes.noise_schedules import NoiseSchedule, grid
from laminar.policies.processes.solver_schedules import PREDICTIONS, SCALINGS, SolverStep
from laminar.policies.processes.solvers import Level

MEAN, STD = 0.7, 0.5


def flow_level(t: float) -> Level:
    return Level(t, 1 - t, t)


def vp_levels(count: int, first: float = 1.0, last: float = 0.05) -> list[Level]:
    schedule = NoiseSchedule("vp", None)
    return [schedule.level(first + (last - first) * i / count) for i in range(count + 1)]


def flow_levels(count: int, first: float = 0.95, last: float = 0.05) -> list[Level]:
    return [flow_level(first + (last - first) * i / count) for i in range(count + 1)]


def marginal_std(level: Level) -> float:
    return math.sqrt((level.alpha * STD) ** 2 + level.sigma**2)


def denoise(x: Tensor, level: Level) -> Tensor:
    """E[data | x] for data of N(MEAN, STD^2)."""
    return MEAN + level.alpha * STD**2 / marginal_std(level) ** 2 * (x - level.alpha * MEAN)


def exact(x: Tensor, start: Level, end: Level) -> Tensor:
    return end.alpha * MEAN + marginal_std(end) / marginal_std(start) * (x - start.alpha * MEAN)


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(64, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def same(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)


# what it reduces to


@pytest.mark.parametrize("levels", [grid(NoiseSchedule("cosine", 100), 7, "quadratic"), flow_levels(7, 1.0, 0.0)])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_first_order_is_ddim_whatever_is_predicted(levels: list[Level], prediction: str, noise: Tensor) -> None:
    path = solvers.unified(denoise, noise, levels, [SolverStep(1.0, prediction=prediction)] * 7)
    for one, other in zip(path, solvers.ddim(denoise, noise, levels), strict=True):
        same(one, other)


def test_first_order_is_euler_on_straight_paths(noise: Tensor) -> None:
    def velocity(x: Tensor, t: float) -> Tensor:
        return torch.sin(x) + t

    def data(x: Tensor, level: Level) -> Tensor:
        return x - level.time * velocity(x, level.time)

    times = [1.0, 0.6, 0.5, 0.1, 0.0]
    path = solvers.unified(data, noise, [flow_level(t) for t in times], [SolverStep(1.0)] * 4)
    for one, other in zip(path, solvers.euler(velocity, noise, times), strict=True):
        same(one, other)


def test_second_order_is_dpmpp_2m(noise: Tensor) -> None:
    levels = grid(NoiseSchedule("cosine", 100), 9, "uniform")
    path = solvers.unified(denoise, noise, levels, [SolverStep(1.0, order=2)] * 9)
    for one, other in zip(path, solvers.dpmpp_2m(denoise, noise, levels), strict=True):
        same(one, other)


def test_second_order_in_velocity_is_adams_bashforth(noise: Tensor) -> None:
    """Equal steps: x + h (3 v_n - v_{n-1}) / 2; with the corrector the step before is the trapezoidal rule."""
    h, levels = -0.25, [flow_level(t) for t in (1.0, 0.75, 0.5)]

    def velocity(x: Tensor, level: Level) -> Tensor:
        return (x - denoise(x, level)) / level.time

    first = velocity(noise, levels[0])
    middle = noise + h * first
    second = velocity(middle, levels[1])
    plain = [SolverStep(1.0, 1, "velocity"), SolverStep(0.75, 2, "velocity")]
    same(solvers.unified(denoise, noise, levels, plain)[-1], middle + h * (3 * second - first) / 2)
    corrected = [SolverStep(1.0, 1, "velocity", corrector=True), plain[1]]
    base = noise + h * (first + second) / 2
    same(solvers.unified(denoise, noise, levels, corrected)[-1], base + h * (3 * second - first) / 2)


def published_unipc(predict: Callable[[Tensor, Level], Tensor], x: Tensor, levels: list[Level]) -> Tensor:
    """UniPC of order 3 in the notation of its paper (Zhao et al. 2023), B(h) = e^h - 1, data prediction, ends at 0."""
    count = len(levels) - 1
    outputs, base, order = [predict(x, levels[0])], x, 1
    for i in range(1, count):
        predicted = published_step(base, levels[: i + 1], outputs, order)
        new = predict(predicted, levels[i])
        base = published_step(base, levels[: i + 1], outputs, order, new)
        outputs.append(new)
        order = min(3, i + 1, count - i)
    return outputs[-1]


def published_step(
    x: Tensor, levels: list[Level], outputs: list[Tensor], order: int, new: Tensor | None = None
) -> Tensor:
    """UniP, or with a new output UniC, from the last level but one to the last."""
    *_, now, after = levels
    h = after.log_snr - now.log_snr
    ratios = [(levels[-2 - m].log_snr - now.log_snr) / h for m in range(1, order)]
    differences = [(outputs[-1 - m] - outputs[-1]) / r for m, r in enumerate(ratios, start=1)]
    if new is not None:
        ratios, differences = [*ratios, 1.0], [*differences, new - outputs[-1]]
    scale, phi, factorial, right = math.expm1(-h), math.expm1(-h) / -h - 1, 1.0, list[float]()
    for k in range(1, len(ratios) + 1):
        right.append(phi * factorial / scale)
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    total = after.sigma / now.sigma * x - after.alpha * scale * outputs[-1]
    if not ratios:
        return total
    matrix = torch.tensor([[r**k for r in ratios] for k in range(len(ratios))], dtype=torch.float64)
    weights = torch.linalg.solve(matrix, torch.tensor(right, dtype=torch.float64)) if len(ratios) > 1 else [0.5]
    return total - after.alpha * scale * sum(w * d for w, d in zip(weights, differences, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_unipc_is_the_published_one(count: int, noise: Tensor) -> None:
    levels = grid(NoiseSchedule("cosine", 100), count, "uniform")
    same(solvers.unipc(denoise, noise, levels)[-1], published_unipc(denoise, noise, levels))


# its order


@pytest.mark.parametrize("levels", [vp_levels, flow_levels])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("order", "corrector"), [(1, False), (2, False), (1, True), (2, True), (3, False)])
def test_order_of_convergence(
    levels: Callable[[int], list[Level]], prediction: str, order: int, corrector: bool, noise: Tensor
) -> None:
    """A corrector adds one order. Third order alone starts with two corrected steps: a first-order one would remain."""
    errors: list[float] = []
    for count in (200, 400, 800):
        corrected = [corrector or (order == 3 and i < 2) for i in range(count - 1)] + [False]
        steps = [SolverStep(1.0, order, prediction, "exact", flag) for flag in corrected]
        path = levels(count)
        error = solvers.unified(denoise, noise, path, steps)[-1] - exact(noise, path[0], path[-1])
        errors.append(float(error.abs().max()))
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert min(slopes) > order + corrector - 0.25, (errors, slopes)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_every_scaling_is_of_second_order(scaling: str, prediction: str, noise: Tensor) -> None:
    errors: list[float] = []
    for count in (200, 400):
        path = flow_levels(count)
        sample = solvers.unified(denoise, noise, path, [SolverStep(1.0, 2, prediction, scaling)] * count)[-1]
        errors.append(float((sample - exact(noise, path[0], path[-1])).abs().max()))
    assert math.log2(errors[0] / errors[1]) > 1.75, errors


def integral(value: Callable[[float], float], prediction: str, start: Level, end: Level, x: float) -> float:
    """Solution of the ODE from `start` to `end` for a given data, noise or velocity along it, by midpoints."""
    if prediction == "velocity":
        first, last = start.sigma / (start.alpha + start.sigma), end.sigma / (end.alpha + end.sigma)
        weigh, scale, front = (lambda u: 1.0), start.alpha + start.sigma, end.alpha + end.sigma
    elif prediction == "noise":
        first, last = start.log_snr, end.log_snr
        weigh, scale, front = (lambda u: -math.exp(-u)), start.alpha, end.alpha
    else:
        first, last = start.log_snr, end.log_snr
        weigh, scale, front = math.exp, start.sigma, end.sigma
    count = 20_000
    width = (last - first) / count
    places = [first + (i + 0.5) * width for i in range(count)]
    return front * (x / scale + width * sum(weigh(u) * value(u) for u in places))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("order", "corrector"), [(1, True), (2, False), (2, True), (3, False), (3, True)])
def test_polynomials_are_integrated_exactly(prediction: str, order: int, corrector: bool) -> None:
    """A step of order p is exact where the predicted quantity is of degree p - 1, a corrected one of degree p."""
    degree = order - 1 + corrector

    def place(level: Level) -> float:
        return level.sigma / (level.alpha + level.sigma) if prediction == "velocity" else level.log_snr

    def value(u: float) -> float:
        return sum((0.3 + 0.2 * k) * u**k for k in range(degree + 1))

    def predict(x: Tensor, level: Level) -> Tensor:
        q = value(place(level))
        if prediction == "data":
            return torch.full_like(x, q)
        if prediction == "noise":
            return (x - level.sigma * q) / level.alpha
        return (x - level.sigma * q) / (level.alpha + level.sigma)

    levels = [flow_level(t) for t in (0.9, 0.7, 0.55, 0.4, 0.3)]
    steps = [SolverStep(1.0, order, prediction, "exact", corrector)] * 3 + [SolverStep(1.0, order, prediction, "exact")]
    path = solvers.unified(predict, torch.full((1, 1, 1), 0.4, dtype=torch.float64), levels, steps)
    start, end = (2, 3) if corrector else (3, 4)  # the last step of all is not corrected
    wanted = integral(value, prediction, levels[start], levels[end], float(path[start]))
    assert float(path[end]) == pytest.approx(wanted, rel=1e-7)


# both ends


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("corrector", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_infinite_log_snr_at_both_ends(
    prediction: str, scaling: str, order: int, corrector: bool, count: int, noise: Tensor
) -> None:
    """A flow starts at alpha = 0 and ends at sigma = 0; a point mass is reached exactly whatever is chosen."""
    levels = flow_levels(count, 1.0, 0.0)
    steps = [SolverStep(1.0, order, prediction, scaling, corrector and i < count - 1) for i in range(count)]
    same(solvers.unified(lambda x, level: torch.full_like(x, 0.3), noise, levels, steps)[-1], 0 * noise + 0.3)
    assert torch.isfinite(solvers.unified(denoise, noise, levels, steps)[-1]).all()


@pytest.mark.parametrize(
    ("scaling", "of_first", "of_second"), [("exact", 0.0, 1.0), ("expm1", 0.5, 0.5), ("h", 1.0, 0.0)]
)
def test_the_limit_of_a_correction_from_pure_noise(
    scaling: str, of_first: float, of_second: float, noise: Tensor
) -> None:
    """From alpha nearly 0 the weights of a corrected step come ever closer to those at 0 (h alone has no limit)."""
    values = iter((1.0, -2.0))
    end = flow_level(0.4)
    steps = [SolverStep(1.0, 1, "data", scaling, True), SolverStep(0.4)]

    def predict(x: Tensor, level: Level) -> Tensor:
        return torch.full_like(x, next(values))

    path = solvers.unified(predict, noise, [flow_level(1.0), end, flow_level(0.0)], steps)
    same(path[1], end.sigma * noise + end.alpha * (of_first * 1.0 - of_second * 2.0))
    if scaling != "h":
        near = flow_level(1 - 1e-13)
        values = iter((1.0, -2.0))
        close = solvers.unified(predict, noise, [near, end, flow_level(0.0)], steps)
        assert float((close[1] - path[1]).abs().max()) < 0.07, "1 / h is 1 / 29 here"


def test_a_corrector_costs_no_call(noise: Tensor) -> None:
    calls: list[float] = []
    steps = [SolverStep(1.0, 3, corrector=True)] * 4 + [SolverStep(1.0, 3)]

    def predict(x: Tensor, level: Level) -> Tensor:
        calls.append(level.time)
        return denoise(x, level)

    path = solvers.unified(predict, noise, vp_levels(5), steps)
    assert len(calls) == 5
    assert len(path) == 6


def test_history_does_not_survive_a_call(noise: Tensor) -> None:
    steps = [SolverStep(1.0, 3, corrector=True)] * 4 + [SolverStep(1.0, 3)]
    first = solvers.unified(denoise, noise, vp_levels(5), steps)[-1]
    solvers.unified(denoise, 100 * noise, vp_levels(5), steps)
    assert torch.equal(first, solvers.unified(denoise, noise, vp_levels(5), steps)[-1])
