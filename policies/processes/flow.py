"""Conditional flow matching on straight paths (Lipman et al. 2023; Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...settings import choice, number
from ..networks import Network
from . import Draws, Metrics, Process, check_steps, even_times, no_kernel, solvers, squared_error
from .guides import Guide
from .solver_schedules import ALL_CHOICES, SolverSchedule, Steps
from .solvers import Level, Source

SOLVERS: dict[str, Callable[[solvers.Velocity, Tensor, Sequence[float]], list[Tensor]]] = {
    "euler": solvers.euler,
    "heun": solvers.heun,
}
DATA_SOLVERS: dict[str, Callable[[solvers.DataPrediction, Tensor, Sequence[Level]], list[Tensor]]] = {
    "unipc": solvers.unipc,
}


@dataclass
class Config:
    """Settings of the flow process."""

    name: str = "flow"
    # of a sample; heun is of second order, with 2 steps - 1 network calls
    solver: str = choice("euler", *SOLVERS, *DATA_SOLVERS)
    steps: int = number(10, least=1)  # integration steps from noise to data


class Flow(Process):
    """x_t = (1 - t) x + t eps; the network learns the velocity eps - x."""

    choices = ALL_CHOICES
    teachable = True
    denoises = True
    predicts_data = True
    regresses = True
    noise_path = ("straight", None)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: Config = config

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Return noise (B, H, A) and uniform times (B, 1)."""
        noise = torch.randn(x.shape, device=x.device, generator=generator)
        return noise, torch.rand(len(x), 1, device=x.device, generator=generator)

    def objective(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """E || v(x_t, t) - (eps - x) ||^2 (Lipman et al. 2023, eq. 23, in our time direction)."""
        loss = squared_error(*self.regression(network, x, cond, draws), mask).mean()
        return loss, {"loss": loss.detach()}

    def regression(self, network: Network, x: Tensor, cond: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return v(x_t, t) and eps - x."""
        noise, t = draws
        t_ = t[:, :, None]  # (B, 1, 1)
        x_t = (1 - t_) * x + t_ * noise  # (B, H, A)
        return network(x_t, t, cond), noise - x

    def output(self, x: Tensor, times: Tensor, data: Tensor) -> Tensor:
        """Return the velocity (x - data) / t that leads to the data (B, H, A) from x at times (B, 1)."""
        return (x - data) / times[:, :, None]

    def noised(self, x: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """x_t = (1 - t) x + t eps at times (B, 1)."""
        return torch.lerp(x, noise, times[:, :, None])

    def denoise(self, network: Network, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Clean data (B, H, A) that the network sees in x at times (B, 1): E[x | x_t] = x_t - t v(x_t, t)."""
        return x - times[:, :, None] * network(x, times, cond)

    def path(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        steps: Steps = None,
        generator: Source = None,
        guide: Guide | None = None,
    ) -> list[Tensor]:
        """Integrate dx/dt = v from t = 1 to t = 0 in equal steps, or as a solver schedule says."""
        guided = None
        if guide is not None:
            guided = guide.around(lambda x, level: self.predict_data(network, x, level, cond))

        def velocity(x: Tensor, t: float) -> Tensor:
            if guided is not None:
                return (x - guided(x, Level(t, 1 - t, t))) / t
            return self._velocity(network, x, t, cond)

        def data(x: Tensor, level: Level) -> Tensor:
            return x - level.time * velocity(x, level.time)

        if isinstance(steps, SolverSchedule):
            return solvers.unified(data, noise, [Level(t, 1 - t, t) for t in steps.times], steps.steps)
        times = even_times(self.config.steps if steps is None else check_steps(steps))
        if self.config.solver in DATA_SOLVERS:
            return DATA_SOLVERS[self.config.solver](data, noise, [Level(t, 1 - t, t) for t in times])
        return SOLVERS[self.config.solver](velocity, noise, times)

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
        """Return the levels between equal steps from t = 1 to t = 0."""
        return [Level(t, 1 - t, t) for t in even_times(self.config.steps if steps is None else check_steps(steps))]

    def predict_data(self, network: Network, x: Tensor, level: Level, cond: Tensor) -> Tensor:
        """Clean data (B, H, A) that the network sees in x at one level: x_t - t v(x_t, t)."""
        return x - level.time * self._velocity(network, x, level.time, cond)

    def kernel(self, network: Network, x: Tensor, k: int, cond: Tensor) -> tuple[Tensor, float]:
        """Return Euler's step k.

        Raises:
            LaminarError: there is no step k, or the solver's steps take several network calls.
        """
        self.check_step(k)
        if self.config.solver != "euler":
            raise no_kernel(self.config.solver, ["euler"])
        now, after = even_times(self.config.steps)[k : k + 2]
        return solvers.euler_step(self._velocity(network, x, now, cond), x, now, after), 0.0

    def kernels(self, network: Network, x: Tensor, k: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return Euler's steps k."""
        if self.config.solver != "euler":
            raise no_kernel(self.config.solver, ["euler"])
        t = 1 - k.to(x.dtype)[:, None] / self.config.steps  # (B, 1)
        return x - network(x, t, cond) / self.config.steps, torch.zeros_like(t)[:, :, None]

    def draw_pair(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Return noise (B, H, A) and times (B, 1); of one step where the only call is (Liu et al. 2023, sec. 2.2)."""
        noise, t = self.draw(x, generator)
        return (noise, torch.ones_like(t)) if self.config.steps == 1 else (noise, t)

    def fixed(self, calls: int) -> dict[str, Process]:
        """Return every solver that can make so many calls; Heun's makes an odd number."""
        steps = {"euler": calls, "unipc": calls} | ({"heun": (calls + 1) // 2} if calls % 2 else {})
        return {solver: Flow(replace(self.config, solver=solver, steps=count)) for solver, count in steps.items()}

    def _velocity(self, network: Network, x: Tensor, t: float, cond: Tensor) -> Tensor:
        return network(x, x.new_full((len(x), 1), t), cond)
