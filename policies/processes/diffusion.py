"""Denoising diffusion: DDPM training (Ho et al. 2020), any of the solvers for sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ...settings import choice, number
from ..networks import Network
from . import Draws, Metrics, Process, no_kernel, solvers, squared_error
from .guides import Guide
from .noise_schedules import SCHEDULES, SPACINGS, NoiseSchedule, grid, levels_at
from .solver_schedules import ALL_CHOICES, SolverSchedule, Steps
from .solvers import Level, Source

ODE_SOLVERS: dict[str, Callable[[solvers.DataPrediction, Tensor, list[Level]], list[Tensor]]] = {
    "ddim": solvers.ddim,
    "dpmpp_1": solvers.dpmpp_1,
    "dpmpp_2s": solvers.dpmpp_2s,
    "dpmpp_2m": solvers.dpmpp_2m,
    "unipc": solvers.unipc,
}
STEPS: dict[str, Callable[[Tensor, Tensor, Level, Level], Tensor]] = {
    "ddim": solvers.ddim_step,
    "dpmpp_1": solvers.exponential_step,
}
"""Deterministic solvers whose steps stand alone; each is the kernel of its solver."""
PREDICTIONS = ("epsilon", "data", "velocity")


@dataclass
class Config:
    """Settings of the diffusion process."""

    name: str = "diffusion"
    schedule: str = choice("cosine", *SCHEDULES)  # of the noise over time; vp is Diffusion-QL's
    levels: int | None = number(
        100, least=1, most=100_000, null=True
    )  # discrete noise levels in training; null: continuous time
    prediction: str = choice("epsilon", *PREDICTIONS)  # what the network predicts
    solver: str = choice("ddim", "ddpm", *ODE_SOLVERS)  # of a sample; ddpm is stochastic
    steps: int = number(10, least=1)  # network calls per sample, at most `levels`
    spacing: str = choice("uniform", *SPACINGS)  # of the sampling steps
    # bound of the predicted data in normalized units; null does not clip
    clip: float | None = number(1.0, above=0, null=True, infinite=True)


class Diffusion(Process):
    """x_t = alpha_t x + sigma_t eps with alpha_t^2 + sigma_t^2 = 1."""

    choices = ALL_CHOICES
    denoises = True
    predicts_data = True
    estimates_data = True
    regresses = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: Config = config
        self.schedule = NoiseSchedule(config.schedule, config.levels)
        self.noise_path = (config.schedule, config.levels)
        self.time_levels = config.levels
        # Made once, not in every sample; and a bad combination fails here, before training.
        self.levels = grid(self.schedule, config.steps, config.spacing)
        self.inner_draws = config.steps - 1 if config.solver == "ddpm" else 0  # the last step adds no noise
        self.step_table: Tensor  # (K, 6), see `kernels`; not saved: it follows from the configuration
        self.register_buffer("step_table", torch.tensor(self._steps()), persistent=False)

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Return noise (B, H, A) and times (B, 1)."""
        noise = torch.randn(x.shape, device=x.device, generator=generator)
        return noise, self.schedule.draw_times(x, generator)

    def objective(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """The simple loss (Ho et al. 2020, eq. 14), for the noise, the data or v = alpha eps - sigma x."""
        loss = squared_error(*self.regression(network, x, cond, draws), mask).mean()
        return loss, {"loss": loss.detach()}

    def regression(self, network: Network, x: Tensor, cond: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return what the network says at x_t, and the noise, the data or v."""
        output, target, *_ = self._regress(network, x, cond, draws)
        return output, target

    def one_call(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics, Tensor]:
        """Return `objective` and the clean data (B, H, A) that its network call estimates, with gradient.

        In efficient diffusion policies (Kang et al. 2023) the critic judges this estimate, (x_t - sigma eps) / alpha,
        in place of a sample through the whole chain. Clipped if configured.
        """
        output, target, x_t, alpha, sigma = self._regress(network, x, cond, draws)
        loss = squared_error(output, target, mask).mean()
        return loss, {"loss": loss.detach()}, self._data(output, x_t, alpha, sigma)

    def _regress(
        self, network: Network, x: Tensor, cond: Tensor, draws: Draws
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return output and target (B, H, A), and where the network was called: x_t, alpha and sigma (B, 1, 1)."""
        noise, t = draws
        alpha, sigma = self.schedule.alpha_sigma(t)  # (B, 1, 1)
        x_t = alpha * x + sigma * noise  # (B, H, A)
        if self.config.prediction == "epsilon":
            target = noise
        elif self.config.prediction == "data":
            target = x
        else:
            target = alpha * noise - sigma * x
        return network(x_t, t, cond), target, x_t, alpha, sigma

    def path(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        steps: Steps = None,
        generator: Source = None,
        guide: Guide | None = None,
    ) -> list[Tensor]:
        """Denoise with the configured solver, or as a solver schedule says; `generator` serves `ddpm` only."""

        def plain(x: Tensor, level: Level) -> Tensor:
            return self.predict_data(network, x, level, cond)

        guided = None if guide is None else guide.around(plain)

        def predict(x: Tensor, level: Level) -> Tensor:
            return plain(x, level) if guided is None else self._clipped(guided(x, level))

        if isinstance(steps, SolverSchedule):
            return solvers.unified(predict, noise, levels_at(self.schedule, steps.times), steps.steps)
        levels = self.noise_levels(steps)
        if self.config.solver == "ddpm":
            return solvers.ddpm(predict, noise, levels, solvers.standard_normal(generator))
        return ODE_SOLVERS[self.config.solver](predict, noise, levels)

    def kernel(self, network: Network, x: Tensor, k: int, cond: Tensor) -> tuple[Tensor, float]:
        """Return the posterior of step k for `ddpm`, and the step itself for `ddim` and `dpmpp_1`; see `Process`.

        Raises:
            LaminarError: there is no step k, or the solver's steps take several network calls.
        """
        self.check_step(k)
        now, after, solver = self.levels[k], self.levels[k + 1], self.config.solver
        if solver != "ddpm" and solver not in STEPS:
            raise no_kernel(solver, ["ddpm", *STEPS])
        return self._step(self.predict_data(network, x, now, cond), x, now, after)

    def kernels(self, network: Network, x: Tensor, k: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return `kernel` for rows at steps of their own; a mean is a sum of x and predicted data."""
        if self.config.solver != "ddpm" and self.config.solver not in STEPS:
            raise no_kernel(self.config.solver, ["ddpm", *STEPS])
        time, alpha, sigma, of_x, of_data, std = self.step_table.index_select(0, k)[:, None].split(1, dim=2)
        data = self._data(network(x, time[:, 0], cond), x, alpha, sigma)
        return of_x * x + of_data * data, std

    def _step(self, data: Any, x: Any, now: Level, after: Level) -> tuple[Any, float]:
        """Mean and deviation of a step that stands alone, of tensors or numbers."""
        if self.config.solver == "ddpm":
            return solvers.ddpm_step(data, x, now, after)
        return STEPS[self.config.solver](data, x, now, after), 0.0

    def _steps(self) -> list[tuple[float, ...]]:
        """Of each step that stands alone: its level, the weights of x and of the data in its mean, its deviation."""
        if self.config.solver != "ddpm" and self.config.solver not in STEPS:
            return [(0.0,) * 6]
        found: list[tuple[float, ...]] = []
        for now, after in pairwise(self.levels):
            of_x, std = self._step(0.0, 1.0, now, after)
            found.append((*now, of_x, self._step(1.0, 0.0, now, after)[0], std))
        return found

    def fixed(self, calls: int) -> dict[str, Process]:
        """Return every solver with every spacing, named like "dpmpp_2m quadratic"."""
        if calls > (self.config.levels or calls):
            return {}
        return {
            f"{solver} {spacing}": Diffusion(replace(self.config, solver=solver, spacing=spacing, steps=calls))
            for solver in ODE_SOLVERS
            for spacing in SPACINGS
        }

    def guided_path(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        guide: Guide,
        steps: Steps = None,
        generator: Source = None,
    ) -> list[Tensor]:
        """Return `path` with the data corrected that each call predicts."""
        return self.path(network, noise, cond, steps, generator, guide)

    def noise_levels(self, steps: int | None = None) -> list[Level]:
        """Return the levels between the steps, in the configured spacing."""
        return self.levels if steps is None else grid(self.schedule, steps, self.config.spacing)

    def predict_data(self, network: Network, x: Tensor, level: Level, cond: Tensor) -> Tensor:
        """Clean data (B, H, A) that the network sees in x at one noise level, clipped if configured."""
        output = network(x, x.new_full((len(x), 1), level.time), cond)
        return self._data(output, x, level.alpha, level.sigma)

    def noised(self, x: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """x_t = alpha x + sigma eps at times (B, 1)."""
        alpha, sigma = self.schedule.alpha_sigma(times)
        return alpha * x + sigma * noise

    def denoise(self, network: Network, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Clean data (B, H, A) that the network sees in x at times (B, 1), clipped if configured."""
        alpha, sigma = self.schedule.alpha_sigma(times)
        return self._data(network(x, times, cond), x, alpha, sigma)

    def output(self, x: Tensor, times: Tensor, data: Tensor) -> Tensor:
        """Return the noise, the data or v at times (B, 1) for which the network sees the data (B, H, A) in x."""
        if self.config.prediction == "data":
            return data
        alpha, sigma = self.schedule.alpha_sigma(times)
        noise = (x - alpha * data) / sigma
        return noise if self.config.prediction == "epsilon" else alpha * noise - sigma * data

    def _data(self, output: Tensor, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """Clean data (B, H, A) that an output at x = alpha data + sigma eps means, clipped if configured."""
        if self.config.prediction == "epsilon":
            data = (x - sigma * output) / alpha
        elif self.config.prediction == "data":
            data = output
        else:
            data = alpha * x - sigma * output
        return self._clipped(data)

    def _clipped(self, data: Tensor) -> Tensor:
        return data if self.config.clip is None else data.clamp(-self.config.clip, self.config.clip)
