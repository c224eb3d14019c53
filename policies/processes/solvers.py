"""Solvers: pure integrators from noise to data; no network, no noise schedule, no randomness of their own.

Every solver returns the whole path, a list whose first entry is the start and whose last is the sample, so that
one implementation serves sampling, steering and plots. Coefficients are Python floats: a captured or compiled
loop holds them as constants and never waits for the device. Nothing survives a call, so a multistep history
cannot leak from one sample into the next. The solvers whose steps stand alone have their step as a function of its
own, which is also the kernel of a process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .solver_schedules import SolverStep


class Level(NamedTuple):
    """One noise level: x = alpha * data + sigma * noise at `time` (0 is data, 1 is noise)."""

    time: float
    alpha: float
    sigma: float

    @property
    def log_snr(self) -> float:
        """Half the logarithm of the signal-to-noise ratio, lambda = log(alpha / sigma)."""
        if self.alpha == 0:
            return -math.inf
        return math.inf if self.sigma == 0 else math.log(self.alpha / self.sigma)


DataPrediction = Callable[[Tensor, Level], Tensor]
Velocity = Callable[[Tensor, float], Tensor]
Draw = Callable[[Tensor], Tensor]


def ddim(predict: DataPrediction, x: Tensor, levels: Sequence[Level]) -> list[Tensor]:
    """DDIM with eta = 0 (Song et al. 2021, eq. 12): keep the implied noise, swap the level.

    The noise is derived from the (possibly clipped) data prediction, so that both stay consistent.
    """
    path = [x]
    for now, after in pairwise(levels):
        x = ddim_step(predict(x, now), x, now, after)
        path.append(x)
    return path


def ddim_step(data: Tensor, x: Tensor, now: Level, after: Level) -> Tensor:
    """One step of `ddim` from x (B, H, A) at `now`, with the predicted data (B, H, A)."""
    noise = (x - now.alpha * data) / now.sigma
    return after.alpha * data + after.sigma * noise


def ddpm(predict: DataPrediction, x: Tensor, levels: Sequence[Level], draw: Draw) -> list[Tensor]:
    """Ancestral sampling with the posterior variance (Ho et al. 2020, eq. 6-7; DDIM with eta = 1).

    Args:
        predict: (x, level) -> clean data.
        x: start, standard normal.
        levels: noise levels from the noisiest to the last.
        draw: returns standard normal noise shaped like its argument; not called for the last step.
    """
    path = [x]
    for now, after in pairwise(levels):
        x, std = ddpm_step(predict(x, now), x, now, after)
        if std > 0:
            x = x + std * draw(x)
        path.append(x)
    return path


def ddpm_step(data: Tensor, x: Tensor, now: Level, after: Level) -> tuple[Tensor, float]:
    """Mean (B, H, A) and deviation of q(x_after | x_now, data), one step of `ddpm` (Ho et al. 2020, eq. 6-7)."""
    noise = (x - now.alpha * data) / now.sigma
    variance = (after.sigma / now.sigma) ** 2 * (1 - (now.alpha / after.alpha) ** 2)
    mean = after.alpha * data + math.sqrt(max(after.sigma**2 - variance, 0.0)) * noise
    return mean, math.sqrt(max(variance, 0.0))


def stochastic_step(data: Tensor, x: Tensor, now: Level, after: Level, eta: float) -> tuple[Tensor, float]:
    """Mean (B, H, A) and deviation of a step that draws noise, on any path x = alpha data + sigma noise.

    For a diffusion it is DDIM with eta (Song et al. 2021, eq. 12 and 16), for straight paths the step of

        dx = [v + (g^2 / 2) (x + (1 - t) v) / t] dt + g dW,   g^2 = eta^2 2 t / (1 - t),   t from 1 to 0,

    which has the marginals of the flow's dx = v dt for any eta (in steps of finite size exactly where the data are one
    point); with eta = 1 a sample forgets the noise that it came from. eta = 0 is `ddim_step`.
    """
    variance = eta**2 * stochastic_variance(now, after)
    noise = (x - now.alpha * data) / now.sigma
    return after.alpha * data + math.sqrt(max(after.sigma**2 - variance, 0.0)) * noise, math.sqrt(variance)


def stochastic_variance(now: Level, after: Level) -> float:
    """Variance of x_after given x_now and the data, where x_now is x_after with more noise (eta = 1)."""
    ratio = now.alpha / after.alpha
    return max((after.sigma / now.sigma) ** 2 * (now.sigma**2 - (ratio * after.sigma) ** 2), 0.0)


def dpmpp_1(predict: DataPrediction, x: Tensor, levels: Sequence[Level]) -> list[Tensor]:
    """DPM-Solver++ of first order (Lu et al. 2022, section 4); the same map as `ddim`."""
    path = [x]
    for now, after in pairwise(levels):
        x = exponential_step(predict(x, now), x, now, after)
        path.append(x)
    return path


def exponential_step(data: Tensor, x: Tensor, now: Level, after: Level) -> Tensor:
    """One step of `dpmpp_1`: the linear part of the diffusion ODE exactly, while the data prediction stays fixed."""
    decay = (after.sigma * now.alpha) / (after.alpha * now.sigma)  # e^{-h}, h = lambda_after - lambda_now
    return (after.sigma / now.sigma) * x - after.alpha * (decay - 1) * data


def dpmpp_2s(predict: DataPrediction, x: Tensor, levels: Sequence[Level]) -> list[Tensor]:
    """Singlestep DPM-Solver++(2S) (Lu et al. 2022, algorithm 1), two evaluations a step.

    Consecutive levels are taken in pairs, the middle one as the solver's intermediate point, so the number of
    evaluations is the number of levels minus one. A pair that ends at sigma = 0, and an odd last level, are
    done at first order, where the second-order correction is not defined.
    """
    path = [x]
    index = 0
    while index < len(levels) - 1:
        now, middle = levels[index], levels[index + 1]
        data = predict(x, now)
        halfway = exponential_step(data, x, now, middle)
        path.append(halfway)
        if index + 2 < len(levels) and levels[index + 2].sigma > 0:
            after = levels[index + 2]
            ratio = (middle.log_snr - now.log_snr) / (after.log_snr - now.log_snr)
            slope = (predict(halfway, middle) - data) / (2 * ratio)
            x = exponential_step(data + slope, x, now, after)
            path.append(x)
            index += 2
        else:
            x = halfway
            index += 1
    return path


def dpmpp_2m(predict: DataPrediction, x: Tensor, levels: Sequence[Level]) -> list[Tensor]:
    """Multistep DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), one evaluation a step.

    The first step, and the last one to sigma = 0, are of first order.
    """
    path = [x]
    previous: Tensor | None = None
    previous_step = 0.0
    for now, after in pairwise(levels):
        data = predict(x, now)
        step = after.log_snr - now.log_snr
        target = data
        if previous is not None and math.isfinite(step):
            target = data + (data - previous) * (0.5 * step / previous_step)
        x = exponential_step(target, x, now, after)
        previous, previous_step = data, step
        path.append(x)
    return path


class Evaluation(NamedTuple):
    """One network call: the level and x (B, H, A) that it was made at, and the data (B, H, A) that it predicted."""

    level: Level
    x: Tensor
    data: Tensor


def unified(predict: DataPrediction, x: Tensor, levels: Sequence[Level], steps: Sequence[SolverStep]) -> list[Tensor]:
    """Follow the choices of a solver schedule, one evaluation a step (Liu et al. 2024).

    A step of order p integrates the polynomial through its last p evaluations, see `SolverStep`; a corrected one is
    repeated with the evaluation at its end too, at which the network is not called again (Zhao et al. 2023, alg. 1).
    Orders 1 and 2 with the defaults are `dpmpp_1` and `dpmpp_2m`; at sigma = 0 and alpha = 0 see `_weights`.

    Args:
        predict: (x, level) -> clean data.
        x: start (B, H, A).
        levels: one more than steps, from the noisiest to the last.
        steps: how to go from each level to the next.
    """
    path = [x]
    seen: list[Evaluation] = []
    for index, step in enumerate(steps):
        seen.append(Evaluation(levels[index], x, predict(x, levels[index])))
        if index > 0 and steps[index - 1].corrector:
            before = steps[index - 1]
            x = path[-1] = _multistep(path[-2], levels[index - 1], levels[index], seen[-before.order - 1 :], before)
        x = _multistep(x, levels[index], levels[index + 1], seen[-step.order :], step)
        path.append(x)
    return path


def unipc(predict: DataPrediction, x: Tensor, levels: Sequence[Level]) -> list[Tensor]:
    """UniPC of order 3, data prediction, B(h) = e^h - 1 (Zhao et al. 2023, algorithms 1 and 2), one evaluation a step.

    The order rises with the evaluations there are, and falls to 1 towards the end as in the authors' code.
    """
    count = len(levels) - 1
    steps = [SolverStep(1.0, order=min(3, i + 1, count - i), corrector=i < count - 1) for i in range(count)]
    return unified(predict, x, levels, steps)


def euler(velocity: Velocity, x: Tensor, times: Sequence[float]) -> list[Tensor]:
    """Explicit Euler for dx/dt = velocity(x, t) through the given times."""
    path = [x]
    for now, after in pairwise(times):
        x = euler_step(velocity(x, now), x, now, after)
        path.append(x)
    return path


def euler_step(slope: Tensor, x: Tensor, now: float, after: float) -> Tensor:
    """One step of `euler` from x (B, H, A) at time `now`, with the velocity there."""
    return x + (after - now) * slope


def heun(velocity: Velocity, x: Tensor, times: Sequence[float]) -> list[Tensor]:
    """Heun's second-order method; the last step is Euler's, so n steps cost 2n - 1 evaluations."""
    path = [x]
    for index, (now, after) in enumerate(pairwise(times)):
        slope = velocity(x, now)
        proposal = x + (after - now) * slope
        last = index == len(times) - 2
        x = proposal if last else x + (after - now) / 2 * (slope + velocity(proposal, after))
        path.append(x)
    return path


def _multistep(x: Tensor, now: Level, after: Level, seen: Sequence[Evaluation], step: SolverStep) -> Tensor:
    """Go from x at `now` to `after` along the polynomial through what was seen."""
    carry, terms = _weights(now, after, tuple(one.level for one in seen), step.prediction, step.scaling)
    # Without a correction the newest evaluation was made at x itself.
    total = (carry + sum(of_x for one, (of_x, _) in zip(seen, terms, strict=True) if one.x is x)) * x
    for one, (of_x, of_data) in zip(seen, terms, strict=True):
        if of_x != 0 and one.x is not x:
            total = total + of_x * one.x
        if of_data != 0:
            total = total + of_data * one.data
    return total


@lru_cache(maxsize=4096)  # every sample of a schedule asks for the same ones
def _weights(
    now: Level, after: Level, nodes: tuple[Level, ...], prediction: str, scaling: str
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """Weight of x at `now`, and for each evaluation those of its (x, data).

    With lambda = log(alpha / sigma), h its change, q what is taken for a polynomial, and s = alpha + sigma:

        data:      x' = sigma' / sigma x + alpha' int_0^h e^(u - h) q(lambda + u) du            (DPM-Solver++, eq. 8)
        noise:     x' = alpha' / alpha x - alpha' sigma / alpha int_0^h e^-u q(lambda + u) du     (DPM-Solver, eq. 3.4)
        velocity:  x' = s' / s x + s' int_0^h q(tau + u) du,  tau = sigma / s in place of lambda
    """
    if prediction == "noise" and now.alpha == 0:
        prediction = "data"  # the same first-order step, without a division by alpha
    shares = _shares(now, after, nodes, prediction, scaling)
    if prediction == "data":
        terms = [(0.0, after.alpha * share) for share in shares]
        return after.sigma / now.sigma, tuple(terms)
    if prediction == "noise":  # (x - alpha data) / sigma
        carry, front = after.alpha / now.alpha, -after.alpha * now.sigma / now.alpha
        weights = [(front * share, level.alpha, level.sigma) for level, share in zip(nodes, shares, strict=True)]
    else:  # noise - data = (x - s data) / sigma
        front = after.alpha + after.sigma
        carry = front / (now.alpha + now.sigma)
        weights = [(front * w, node.alpha + node.sigma, node.sigma) for node, w in zip(nodes, shares, strict=True)]
    return carry, tuple((weight / sigma, -weight * alpha / sigma) for weight, alpha, sigma in weights)


def _shares(now: Level, after: Level, nodes: tuple[Level, ...], prediction: str, scaling: str) -> list[float]:
    """Share of each node's value in the integral of the polynomial through them.

    Where lambda is infinite, at alpha = 0 or sigma = 0, a node does not count, and a step is of first order, which is
    DDIM. Only the correction of a step from alpha = 0 has a limit: it weighs both ends.
    """
    if prediction == "velocity":
        h = _flow_time(after) - _flow_time(now)
        moments = [h ** (k + 1) / (k + 1) for k in range(len(nodes))]
        return _interpolate([_flow_time(node) - _flow_time(now) for node in nodes], moments)
    decay = (after.sigma * now.alpha) / (after.alpha * now.sigma)  # e^{-h}
    if now.alpha == 0 or after.sigma == 0:
        last = {"exact": 1.0, "expm1": 0.5, "h": 0.0}[scaling] if after in nodes else 0.0
        return [(1 - decay) * (last if node == after else (1 - last) * (node == now)) for node in nodes]
    h = after.log_snr - now.log_snr
    finite = [node for node in nodes if node.alpha > 0]
    moments = [1 - decay]  # of u^k, with e^{u - h} or e^{-u}: by parts
    for k in range(1, len(finite)):
        moments.append(h**k - k * moments[-1] if prediction == "data" else k * moments[-1] - decay * h**k)
    if len(finite) == 2 and scaling == "expm1":
        moments[1] = moments[0] * h / 2
    elif len(finite) == 2 and scaling == "h":
        moments[1] = h * h / 2 if prediction == "data" else decay * h * h / 2
    shares = iter(_interpolate([node.log_snr - now.log_snr for node in finite], moments))
    return [next(shares) if node.alpha > 0 else 0.0 for node in nodes]


def _interpolate(places: list[float], moments: list[float]) -> list[float]:
    """Integrate each Lagrange polynomial of these places, from the integrals of 1, u, u^2 and so on."""
    shares: list[float] = []
    for j, place in enumerate(places):
        polynomial = [1.0]  # coefficients of 1, u, u^2, …
        for other in (one for m, one in enumerate(places) if m != j):
            shifted, scaled = [0.0, *polynomial], [*(-other * c for c in polynomial), 0.0]
            polynomial = [(a + b) / (place - other) for a, b in zip(shifted, scaled, strict=True)]
        shares.append(sum(c * moment for c, moment in zip(polynomial, moments, strict=True)))
    return shares


def _flow_time(level: Level) -> float:
    return level.sigma / (level.alpha + level.sigma)


Source = torch.Generator | Tensor | None
"""Noise of a stochastic solver: a generator (None: torch's default one), or (steps, B, H, A) drawn before."""


def standard_normal(source: Source) -> Draw:
    """Return a `draw` for `ddpm`: fresh noise of a generator, or one row after the other of noise drawn before."""
    if isinstance(source, Tensor):
        rows = iter(source)
        return lambda like: next(rows)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, device=like.device, dtype=like.dtype, generator=source)

    return draw
