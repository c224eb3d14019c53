"""MeanFlow: the network learns average velocities, so that one call maps noise to data (Geng et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ...errors import LaminarError
from ...settings import number, share
from ..networks import Network
from . import Draws, Metrics, Process, check_steps, even_times, squared_error
from .solver_schedules import SolverSchedule, Steps
from .solvers import Source


@dataclass
class Config:
    """Settings of the mean-flow process."""

    name: str = "meanflow"
    steps: int = number(1, least=1)  # network calls per sample
    flow_ratio: float = share(0.5)  # share of a batch with r = t, where the loss is plain flow matching
    # share of a batch at (r, t) = (0, 1), where one-call sampling is and no random pair
    one_step_share: float = share(0.0)
    time_mean: float = number(-0.4)  # of the normal variable whose sigmoid is a time
    time_std: float = number(1.0, above=0)  # of the same normal variable
    adaptive_power: float = number(0.0)  # p of the weight 1 / (error + 0.001)^p; 0 is the plain squared error


class MeanFlow(Process):
    """u(x_t, r, t) = 1/(t - r) * integral of the velocity from r to t, on x_t = (1 - t) x + t eps.

    The network is conditioned on (t, t - r).
    """

    n_times = 2
    choices = ("time",)
    teachable = True
    denoises = True
    regresses = True
    needs_smooth_network = True
    noise_path = ("straight", None)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.one_step_share + config.flow_ratio > 1:
            raise LaminarError(
                f"policy.process.one_step_share={config.one_step_share} and flow_ratio={config.flow_ratio} are shares "
                "of one batch, their sum must be at most 1; lower one of them"
            )
        self.config: Config = config

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Return noise (B, H, A) and times t >= r, (B, 1) each.

        The first rows, `flow_ratio` of all, have r = t; the last, `one_step_share` of all, have r = 0 and t = 1.
        The split is by position, not by coin: the rows of a batch are exchangeable, the share is exact, and the
        derivative along the path is only computed where r < t.
        """
        noise = torch.randn(x.shape, device=x.device, generator=generator)
        pair = torch.randn(len(x), 2, device=x.device, generator=generator)
        pair = torch.sigmoid(self.config.time_mean + self.config.time_std * pair)
        t = pair.amax(dim=1, keepdim=True)
        r = pair.amin(dim=1, keepdim=True)
        same, whole = self._num_same(len(x)), round(self.config.one_step_share * len(x))
        between = slice(same, len(x) - whole)
        first = pair[:same, :1]  # where r = t the marginal is the logit-normal itself
        t = torch.cat([first, t[between], pair.new_ones(whole, 1)])
        return noise, t, torch.cat([first, r[between], pair.new_zeros(whole, 1)])

    def objective(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """E w || u(x_t, r, t) - sg(v - (t - r) du/dt) ||^2 (Geng et al. 2025, eq. 9-11)."""
        error = squared_error(*self.regression(network, x, cond, draws), mask)  # (B,)
        weight = (error.detach() + 1e-3).pow(-self.config.adaptive_power)
        loss = (weight * error).mean()
        return loss, {"loss": loss.detach(), "squared_error": error.detach().mean()}

    def regression(self, network: Network, x: Tensor, cond: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return u(x_t, r, t) and sg(v - (t - r) du/dt)."""
        noise, t, r = draws
        t_ = t[:, :, None]  # (B, 1, 1)
        x_t = (1 - t_) * x + t_ * noise  # (B, H, A)
        average = network(x_t, torch.cat([t, t - r], dim=1), cond)  # (B, H, A)
        return average, self._target(network, x_t, noise - x, t, r, cond)

    def output(self, x: Tensor, times: Tensor, data: Tensor) -> Tensor:
        """Return the velocity (x - data) / t that leads to the data (B, H, A) from x at times (B, 2), for any r."""
        return (x - data) / times[:, :1, None]

    def noised(self, x: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """x_t = (1 - t) x + t eps at times (B, 1)."""
        return torch.lerp(x, noise, times[:, :, None])

    def denoise(self, network: Network, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Clean data (B, H, A) that the network sees in x at times t (B, 1): x_t - t u(x_t, t, t), as u(t, t) = v."""
        return x - times[:, :, None] * network(x, torch.cat([times, torch.zeros_like(times)], dim=1), cond)

    @torch.no_grad()
    def _target(self, network: Network, x_t: Tensor, velocity: Tensor, t: Tensor, r: Tensor, cond: Tensor) -> Tensor:
        """Return v - (t - r) du/dt; du/dt is the Jacobian-vector product along (dx, dt, dr) = (v, 1, 0).

        No gradient flows through the target, so the product is taken without recording the tape.
        """
        same = self._num_same(len(x_t))
        if same == len(x_t):
            return velocity
        span = (t - r)[same:]
        times = torch.cat([t[same:], span], dim=1)
        ones = torch.ones_like(times)  # d(t - r)/dt = 1 too
        _, slope = network.jvp(x_t[same:], times, cond[same:], velocity[same:], ones)
        return torch.cat([velocity[:same], velocity[same:] - span[:, :, None] * slope])

    def _num_same(self, batch: int) -> int:
        # Rounded down: a process that holds a share of a larger batch then takes no row with r < t for one with r = t.
        return int(self.config.flow_ratio * batch)

    def path(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        steps: Steps = None,
        generator: Source = None,
    ) -> list[Tensor]:
        """x_r = x_t - (t - r) u(x_t, r, t) from t = 1 to 0 in equal steps or at given times; a step is one call.

        Raises:
            LaminarError: the schedule has choices beside its times, which average velocities leave no room for.
        """
        if isinstance(steps, SolverSchedule):
            if not steps.plain:
                raise LaminarError(
                    "meanflow follows the times of a solver schedule only, and this one has steps of higher order or "
                    "correctors; search a schedule for this policy"
                )
            times = steps.times
        else:
            times = even_times(self.config.steps if steps is None else check_steps(steps))
        path = [noise]
        for t, r in pairwise(times):
            path.append(self._jump(network, path[-1], t, r, cond))
        return path

    def kernel(self, network: Network, x: Tensor, k: int, cond: Tensor) -> tuple[Tensor, float]:
        """Return the jump k of `path`."""
        self.check_step(k)
        t, r = even_times(self.config.steps)[k : k + 2]
        return self._jump(network, x, t, r, cond), 0.0

    def kernels(self, network: Network, x: Tensor, k: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return the jumps k of `path`."""
        t = 1 - k.to(x.dtype)[:, None] / self.config.steps  # (B, 1)
        both = torch.cat([t, torch.full_like(t, 1 / self.config.steps)], dim=1)
        return x - network(x, both, cond) / self.config.steps, torch.zeros_like(t)[:, :, None]

    def _jump(self, network: Network, x: Tensor, t: float, r: float, cond: Tensor) -> Tensor:
        # Filled on the device: a tensor from a list would be a copy from the host, which cannot be captured.
        both = torch.cat([x.new_full((len(x), 1), t), x.new_full((len(x), 1), t - r)], dim=1)
        return x - (t - r) * network(x, both, cond)

    def fixed(self, calls: int) -> dict[str, Process]:
        """Return the process with equal steps."""
        return {"uniform": MeanFlow(replace(self.config, steps=calls))}
