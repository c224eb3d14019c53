"""A direct actor: one network call is the action, without a generative path."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import LaminarError
from ..networks import Network
from . import Draws, Metrics, Process, squared_error
from .solver_schedules import SolverSchedule, Steps
from .solvers import Source


@dataclass
class Config:
    """Settings of the direct process."""

    name: str = "direct"
    noise: bool = False  # the network sees the noise (FQL's one-call actor) instead of zeros (deterministic actor)
    squash: bool = False  # tanh on the output, as TD3+BC and ReBRAC have it; for actions normalized by minmax


class Direct(Process):
    """a = f(cond), or a = f(noise, cond): the actor of TD3+BC (Fujimoto and Gu 2021) or of FQL (Park et al. 2025).

    The network is called at t = 1, where the other processes start.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: Config = config
        self.deterministic, self.squashes = not config.noise, config.squash
        self.learns_from_data, self.teachable = not config.noise, config.noise

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Return nothing: regression has no randomness."""
        return ()

    def objective(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """Mean squared error to the data.

        Raises:
            LaminarError: the actor has noise; regression would teach it to ignore it and to give the mean action.
        """
        if self.config.noise:
            raise LaminarError(
                "direct with noise=true does not learn from data alone, it is distilled from a flow policy; "
                "choose method=fql, or policy.process.noise=false"
            )
        loss = squared_error(self._action(network, torch.zeros_like(x), cond), x, mask).mean()
        return loss, {"loss": loss.detach()}

    def path(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        steps: Steps = None,
        generator: Source = None,
    ) -> list[Tensor]:
        """Return [noise, action].

        Raises:
            LaminarError: `steps` is neither None nor 1.
        """
        if isinstance(steps, SolverSchedule):
            raise LaminarError("direct has no path for a solver schedule to divide; leave steps at 1")
        if steps not in (None, 1):
            raise LaminarError(f"direct samples with one network call, not with {steps}; leave steps at 1")
        return [noise, self._action(network, self._start(noise), cond)]

    def kernel(self, network: Network, x: Tensor, k: int, cond: Tensor) -> tuple[Tensor, float]:
        """Return the action, the only step."""
        self.check_step(k)
        return self._action(network, self._start(x), cond), 0.0

    def kernels(self, network: Network, x: Tensor, k: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action, the only step."""
        return self._action(network, self._start(x), cond), x.new_zeros(len(x), 1, 1)

    def draw_pair(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Return noise (B, H, A)."""
        return (torch.randn(x.shape, generator=generator, device=x.device),)

    def pair_loss(
        self, network: Network, noise: Tensor, x: Tensor, cond: Tensor, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """Mean squared error of the only call (Park et al. 2025, the distillation of FQL)."""
        loss = F.mse_loss(self.sample(network, noise, cond), x)
        return loss, {"loss": loss.detach()}

    def _start(self, noise: Tensor) -> Tensor:
        return noise if self.config.noise else torch.zeros_like(noise)

    def _action(self, network: Network, start: Tensor, cond: Tensor) -> Tensor:
        action = network(start, start.new_ones(len(start), 1), cond)  # (B, H, A)
        return action.tanh() if self.config.squash else action
