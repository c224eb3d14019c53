"""Pure integrators from noise to data; no network, no schedule, no randomness of their own.

Every solver returns the whole path, a list whose first entry is the start and whose last is the sample, so that
one implementation serves sampling, steering and plots. Coefficients are Python floats: a captured or compiled
loop holds them as constants and never waits for the device. Nothing survives a call, so a multistep history
cannot leak from one sample into the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Level(NamedTuple):
    """One noise level: x = alpha * data + sigma * noise at `time` (0 is data, 1 is noise)."""

    time: float
    alpha: float
    sigma: float

    @property
    def log_snr(self) -> float:
        """Half the logarithm of the signal-to-noise ratio, lambda = log(alpha / sigma)."""
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
        data = predict(x, now)
        noise = (x - now.alpha * data) / now.sigma
        x = after.alpha * data + after.sigma * noise
        path.append(x)
    return path


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
        data = predict(x, now)
        noise = (x - now.alpha * data) / now.sigma
        variance = (after.sigma / now.sigma) ** 2 * (1 - (now.alpha / after.alpha) ** 2)
        x = after.alpha * data + math.sqrt(max(after.sigma**2 - variance, 0.0)) * noise
        if variance > 0:
            x = x + math.sqrt(variance) * draw(x)
        path.append(x)
    return path


def dpmpp_1(predict: DataPrediction, x: Tensor, levels: Sequence[Level]) -> list[Tensor]:
    """DPM-Solver++ of first order (Lu et al. 2022, section 4); the same map as `ddim`."""
    path = [x]
    for now, after in pairwise(levels):
        x = _exponential_step(x, predict(x, now), now, after)
        path.append(x)
    return path


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
        halfway = _exponential_step(x, data, now, middle)
        path.append(halfway)
        if index + 2 < len(levels) and levels[index + 2].sigma > 0:
            after = levels[index + 2]
            ratio = (middle.log_snr - now.log_snr) / (after.log_snr - now.log_snr)
            slope = (predict(halfway, middle) - data) / (2 * ratio)
            x = _exponential_step(x, data + slope, now, after)
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
        x = _exponential_step(x, target, now, after)
        previous, previous_step = data, step
        path.append(x)
    return path


def euler(velocity: Velocity, x: Tensor, times: Sequence[float]) -> list[Tensor]:
    """Explicit Euler for dx/dt = velocity(x, t) through the given times."""
    path = [x]
    for now, after in pairwise(times):
        x = x + (after - now) * velocity(x, now)
        path.append(x)
    return path


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


def _exponential_step(x: Tensor, data: Tensor, now: Level, after: Level) -> Tensor:
    """Solve the linear part of the diffusion ODE exactly while the data prediction stays fixed."""
    decay = (after.sigma * now.alpha) / (after.alpha * now.sigma)  # e^{-h}, h = lambda_after - lambda_now
    return (after.sigma / now.sigma) * x - after.alpha * (decay - 1) * data


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
