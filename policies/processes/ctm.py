"""Consistency trajectories: one network jumps from any time to any earlier one (Kim et al. 2024, CTM)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from ...errors import LaminarError
from ...settings import choice, number, share
from ..networks import Network
from . import Draws, Metrics, Process, check_steps, even_times, squared_error
from .noise_schedules import SCHEDULES, NoiseSchedule
from .solver_schedules import SolverSchedule, Steps
from .solvers import Level, Source

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, H, A), t (B, 1)) -> the clean data (B, H, A) that a teacher sees in x_t."""


@dataclass
class Config:
    """Settings of consistency trajectories."""

    name: str = "ctm"
    # of the noise over time; null is the teacher's, and straight without one
    schedule: str | None = choice(None, "straight", *SCHEDULES, null=True)
    # discrete noise levels of a diffusion's schedule; the teacher's, if it has any
    levels: int | None = number(None, least=1, most=100_000, null=True)
    steps: int = number(1, least=1)  # network calls per sample
    times: int = number(10, least=1)  # training times are k / times; a teacher solves from one to the next
    # most of the teacher's steps in one target; the student's own jump does the rest
    solver_steps: int = number(10, least=1)
    one_call_share: float = share(0.25)  # of a batch that jumps from t = 1 to s = 0, where one-call sampling is
    data_std: float = number(0.5, above=0)  # of normalized actions, for the scales around the network


class CTM(Process):
    """G(x_t, t, s) = r x_t + (alpha_s - r alpha_t) g(x_t, t, s), r = sigma_s / sigma_t, on x_t = alpha x + sigma eps.

    For every g this is x_t at s = t, and g itself at s = 0. With g(x_t, t, t) = E[x | x_t] a small jump is a step of
    DDIM or, on straight paths (alpha = 1 - t, sigma = t), of Euler. There r = s / t and the factor of g is 1 - s / t,
    the paper's equation 7, whose sigma = t without alpha has the same ODE dx/dt = (x - E[x | x_t]) / t. The network is
    conditioned on (t, s).
    """

    n_times = 2

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        _check_levels(config)
        self.config: Config = config
        straight = config.schedule in (None, "straight")
        self.schedule = None if straight else NoiseSchedule(str(config.schedule), config.levels)
        self.noise_path = (config.schedule or "straight", config.levels)
        levels = pairwise(self._levels(even_times(config.steps)))
        jumps = [(now.time, after.time, *self._factors(now, after)) for now, after in levels]
        self.jump_table: Tensor  # (K, 5), see `kernels`; not saved: it follows from the configuration
        self.register_buffer("jump_table", torch.tensor(jumps), persistent=False)

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Return noise (B, H, A) and times t > u >= s on the grid k / times, (B, 1) each.

        A jump from t to s is taught by a teacher's steps from t to u. t, s and u are uniform, u among the nearest
        `solver_steps` to t; the last rows, `one_call_share` of all, have t = 1 and s = 0.
        """
        count = self.config.times
        noise = torch.randn(x.shape, device=x.device, generator=generator)
        coins = torch.rand(len(x), 3, device=x.device, generator=generator)
        t = (coins[:, :1] * count).floor().clamp(max=count - 1) + 1  # 1 .. times
        s = torch.minimum((coins[:, 1:2] * t).floor(), t - 1)  # 0 .. t - 1
        rows = torch.arange(len(x), device=x.device)[:, None]
        whole = rows >= len(x) - round(self.config.one_call_share * len(x))
        t, s = torch.where(whole, count, t), torch.where(whole, 0, s)
        furthest = torch.maximum(s, t - self.config.solver_steps)
        u = torch.minimum(furthest + (coins[:, 2:] * (t - furthest)).floor(), t - 1)
        return noise, t / count, u / count, s / count

    def objective(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """Learn without a teacher: in its place is the network's own g(x_t, t, t), which the denoising loss trains.

        So that loss has its full weight here.
        """
        frozen = _Frozen(network)

        def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
            return self.aim(frozen, x_t, t, t, cond)

        return self.consistency(network, frozen, denoiser, x, cond, mask, draws)

    def consistency(
        self,
        network: Network,
        slow: Callable[[Tensor, Tensor, Tensor], Tensor],
        teacher: Denoiser,
        x: Tensor,
        cond: Tensor,
        mask: Tensor | None,
        draws: Draws,
        denoising_weight: float = 1.0,
    ) -> tuple[Tensor, Metrics]:
        """L_CTM + weight L_DSM (Kim et al. 2024, eq. 9 and 12).

        The jump t -> s is to end where the teacher's solution t -> u and then a jump u -> s of slow weights end; both
        ends are compared after a further jump of slow weights to time 0.

        Args:
            network: the one that learns.
            slow: its averaged copy, to which no gradient goes.
            teacher: denoiser whose ODE is followed.
            x: (B, H, A) data.
            cond: (B, h, D).
            mask: (B, H).
            draws: from `draw`.
            denoising_weight: of the denoising loss. The paper balances the two by their gradients.
        """
        noise, t, u, s = draws
        alpha, sigma = self.alpha_sigma(t)  # (B, 1, 1)
        x_t = alpha * x + sigma * noise  # (B, H, A)
        both = self.aim(network, _twice(x_t), _twice(t), torch.cat([s, t]), _twice(cond))
        jumped, denoised = both.chunk(2)  # g(x_t, t, s) and g(x_t, t, t)
        estimate = self._to_data(slow, self.move(x_t, jumped, t, s), s, cond)
        with torch.no_grad():
            x_u = self._solve(teacher, x_t, t, u)
            x_s = self.move(x_u, self.aim(slow, x_u, u, s, cond), u, s)
            target = self._to_data(slow, x_s, s, cond)
        consistency = squared_error(estimate, target, mask).mean()
        denoising = squared_error(denoised, x, mask).mean()
        loss = consistency + denoising_weight * denoising
        metrics = {"loss": loss, "consistency": consistency, "denoising": denoising}
        return loss, {name: value.detach() for name, value in metrics.items()}

    def aim(
        self, network: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, t: Tensor, s: Tensor, cond: Tensor
    ) -> Tensor:
        """g(x_t, t, s) (B, H, A) at times (B, 1): the data that the jump from t to s aims at."""
        alpha, sigma = self.alpha_sigma(t)
        inside, skip, outside = self._scales(alpha, sigma)
        return skip * x + outside * network(inside * x, torch.cat([t, s], dim=1), cond)

    def move(self, x: Tensor, data: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Return the state at times s <= t (B, 1) of x_t (B, H, A) that belongs to `data`; x_t itself where s = t."""
        (alpha, sigma), (alpha_s, sigma_s) = self.alpha_sigma(t), self.alpha_sigma(s)
        same = (s == t)[:, :, None]
        ratio = torch.where(same, 1.0, sigma_s / torch.where(same, 1.0, sigma))
        return ratio * x + (alpha_s - ratio * alpha) * data

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, 1) alpha and sigma at times (B, 1)."""
        if self.schedule is None:
            return 1 - t[:, :, None], t[:, :, None]
        alpha, sigma = self.schedule.alpha_sigma(t)
        data = (t == 0)[:, :, None]  # a continuous schedule's formula is not exact there
        return torch.where(data, 1.0, alpha), torch.where(data, 0.0, sigma)

    def path(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        steps: Steps = None,
        generator: Source = None,
    ) -> list[Tensor]:
        """Jump from t = 1 to 0 in equal steps, or along a schedule's times: the paper's sampler with gamma = 0.

        One step is one call.

        Raises:
            LaminarError: the schedule has choices beside its times, which jumps leave no room for.
        """
        if isinstance(steps, SolverSchedule):
            if not steps.plain:
                raise LaminarError(
                    "ctm follows the times of a solver schedule only, and this one has steps of higher order or "
                    "correctors; search a schedule for this policy"
                )
            times = steps.times
        else:
            times = even_times(self.config.steps if steps is None else check_steps(steps))
        path = [noise]
        for now, after in pairwise(self._levels(times)):
            path.append(self._jump(network, path[-1], now, after, cond))
        return path

    def kernel(self, network: Network, x: Tensor, k: int, cond: Tensor) -> tuple[Tensor, float]:
        """Return the jump k of `path`."""
        self.check_step(k)
        now, after = self._levels(even_times(self.config.steps))[k : k + 2]
        return self._jump(network, x, now, after, cond), 0.0

    def _jump(self, network: Network, x: Tensor, now: Level, after: Level, cond: Tensor) -> Tensor:
        """G(x, now, after) (B, H, A) at levels that are known: numbers, not operations, multiplied out."""
        both = torch.cat([x.new_full((len(x), 1), now.time), x.new_full((len(x), 1), after.time)], dim=1)
        inside, of_x, of_output = self._factors(now, after)
        return of_x * x + of_output * network(inside * x, both, cond)

    def kernels(self, network: Network, x: Tensor, k: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return the jumps k of `path`."""
        row = self.jump_table.index_select(0, k)  # (B, 5)
        inside, of_x, of_output = row[:, None, 2:].split(1, dim=2)
        return of_x * x + of_output * network(inside * x, row[:, :2], cond), torch.zeros_like(inside)

    def _factors(self, now: Level, after: Level) -> tuple[float, float, float]:
        """Factors of a jump at levels that are known: of x in the network, and of x and the output in the sum."""
        inside, skip, outside = self._scales(now.alpha, now.sigma)
        ratio = after.sigma / now.sigma
        gain = after.alpha - ratio * now.alpha
        return inside, ratio + gain * skip, gain * outside

    def _scales(self, alpha: Any, sigma: Any) -> tuple[Any, Any, Any]:
        """c_in, c_skip and c_out of g = c_skip x + c_out F(c_in x), of numbers or tensors (Karras et al. 2022)."""
        std = self.config.data_std
        variance = (alpha * std) ** 2 + sigma**2  # of x_t
        return variance**-0.5, alpha * std**2 / variance, sigma * std * variance**-0.5

    def _levels(self, times: Sequence[float]) -> list[Level]:
        """Levels at falling times; the last is the data."""
        if self.schedule is None:
            return [Level(t, 1 - t, t) for t in times]
        return [*(self.schedule.level(t) for t in times[:-1]), Level(0.0, 1.0, 0.0)]

    def _to_data(
        self, network: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, s: Tensor, cond: Tensor
    ) -> Tensor:
        """G(x_s, s, 0), which is x_s itself at s = 0."""
        zero = torch.zeros_like(s)
        return self.move(x, self.aim(network, x, s, zero, cond), s, zero)

    def _solve(self, teacher: Denoiser, x: Tensor, t: Tensor, u: Tensor) -> Tensor:
        """Follow the teacher's ODE from t to u, one grid step after the other; rows that are there stay."""
        for index in range(self.config.solver_steps):
            # From whole numbers, not by repeated subtraction: equal times have to be equal to the last bit.
            now, after = (self._grid(torch.maximum(u, t - (index + k) / self.config.times)) for k in (0, 1))
            x = self.move(x, teacher(x, now), now, after)
        return x

    def _grid(self, t: Tensor) -> Tensor:
        return (t * self.config.times).round() / self.config.times


class _Frozen:
    """A network whose weights are constants, so that gradients reach its input alone."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._weights = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def __call__(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        return functional_call(self._network, self._weights, (x, times, cond))


def _twice(value: Tensor) -> Tensor:
    return torch.cat([value, value])


def _check_levels(config: Config) -> None:
    """Refuse levels that the training times do not fall on."""
    if config.levels is None:
        return
    if config.schedule in (None, "straight"):
        raise LaminarError("ctm: levels belong to a diffusion's schedule, a straight path has none; leave it out")
    if config.levels % config.times:
        raise LaminarError(
            f"ctm: the {config.levels} levels of the schedule are no multiple of times={config.times}, so that the "
            "teacher does not know all times; choose a divisor"
        )
