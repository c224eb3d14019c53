"""Conditional flow matching on straight paths (Lipman et al. 2023; Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...errors import LaminarError, nearest
from ..networks import Network
from . import Draws, Metrics, Process, check_steps, solvers, squared_error
from .solver_schedules import ALL_CHOICES, SolverSchedule, Steps
from .solvers import Level, Source

SOLVERS: dict[str, Callable[[solvers.Velocity, Tensor, list[float]], list[Tensor]]] = {
    "euler": solvers.euler,
    "heun": solvers.heun,
}
DATA_SOLVERS: dict[str, Callable[[solvers.DataPrediction, Tensor, list[Level]], list[Tensor]]] = {
    "unipc": solvers.unipc,
}


@dataclass
class Config:
    """Settings of the flow process."""

    name: str = "flow"
    solver: str = "euler"  # euler, heun (second order, 2 * steps - 1 network calls), or unipc (multistep)
    steps: int = 10  # integration steps from noise to data


class Flow(Process):
    """x_t = (1 - t) x + t eps; the network learns the velocity eps - x."""

    choices = ALL_CHOICES

    def __init__(self, config: Config) -> None:
        super().__init__()
        known = [*SOLVERS, *DATA_SOLVERS]
        if config.solver not in known:
            raise LaminarError(f"flow has no solver '{config.solver}' (known: {known}){nearest(config.solver, known)}")
        check_steps(config.steps)
        self.config = config

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Return noise (B, H, A) and uniform times (B, 1)."""
        noise = torch.randn(x.shape, device=x.device, generator=generator)
        return noise, torch.rand(len(x), 1, device=x.device, generator=generator)

    def objective(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """E || v(x_t, t) - (eps - x) ||^2 (Lipman et al. 2023, eq. 23, in our time direction)."""
        noise, t = draws
        t_ = t[:, :, None]  # (B, 1, 1)
        x_t = (1 - t_) * x + t_ * noise  # (B, H, A)
        velocity = noise - x  # (B, H, A)
        loss = squared_error(network(x_t, t, cond), velocity, mask).mean()
        return loss, {"loss": loss.detach()}

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
    ) -> list[Tensor]:
        """Integrate dx/dt = v from t = 1 to t = 0 in equal steps, or as a solver schedule says."""

        def velocity(x: Tensor, t: float) -> Tensor:
            return network(x, x.new_full((len(x), 1), t), cond)

        def data(x: Tensor, level: Level) -> Tensor:
            return x - level.time * velocity(x, level.time)

        if isinstance(steps, SolverSchedule):
            return solvers.unified(data, noise, [Level(t, 1 - t, t) for t in steps.times], steps.steps)
        steps = self.config.steps if steps is None else check_steps(steps)
        times = [1 - i / steps for i in range(steps + 1)]
        if self.config.solver in DATA_SOLVERS:
            return DATA_SOLVERS[self.config.solver](data, noise, [Level(t, 1 - t, t) for t in times])
        return SOLVERS[self.config.solver](velocity, noise, times)

    def fixed(self, calls: int) -> dict[str, Process]:
        """Return every solver that can make so many calls; Heun's makes an odd number."""
        steps = {"euler": calls, "unipc": calls} | ({"heun": (calls + 1) // 2} if calls % 2 else {})
        return {solver: Flow(replace(self.config, solver=solver, steps=count)) for solver, count in steps.items()}
