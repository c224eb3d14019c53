"""Conditional flow matching on straight paths (Lipman et al. 2023; Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import LaminarError, nearest
from .. import solvers
from ..networks import Network
from ..solvers import Source
from . import Draws, Metrics, Process, check_steps, squared_error

SOLVERS: dict[str, Callable[[solvers.Velocity, Tensor, list[float]], list[Tensor]]] = {
    "euler": solvers.euler,
    "heun": solvers.heun,
}


@dataclass
class Config:
    """Settings of the flow process."""

    name: str = "flow"
    solver: str = "euler"  # euler, or heun (second order, 2 * steps - 1 network calls)
    steps: int = 10  # integration steps from noise to data


class Flow(Process):
    """x_t = (1 - t) x + t eps; the network learns the velocity eps - x."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.solver not in SOLVERS:
            raise LaminarError(
                f"flow has no solver '{config.solver}' (known: {list(SOLVERS)}){nearest(config.solver, SOLVERS)}"
            )
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

    def path(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        steps: int | None = None,
        generator: Source = None,
    ) -> list[Tensor]:
        """Integrate dx/dt = v from t = 1 to t = 0 in equal steps."""
        steps = self.config.steps if steps is None else check_steps(steps)
        times = [1 - i / steps for i in range(steps + 1)]

        def velocity(x: Tensor, t: float) -> Tensor:
            return network(x, x.new_full((len(x), 1), t), cond)

        return SOLVERS[self.config.solver](velocity, noise, times)
