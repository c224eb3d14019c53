"""Generative processes: how noise becomes data. One family a file, no weights of their own.

Here are the processes, and beside them what they are made of:

    ctm diffusion direct flow meanflow   the processes: training loss, path and kernel, in the symbols of their papers
    guides                               a gradient at the clean data, which corrects what a solver steps towards
    noise_schedules                      how much noise there is at which time of a diffusion
    solvers                              pure integrators of a path, and the single steps of those that have them
    solver_schedules                     when and how each step of a sample is taken; kept beside a policy's weights
    unrolled                             a sampling loop whose times are known, prepared for all its calls

What observations, units or actions are, no process knows; that is the policy's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import LaminarError
from ...registry import Family
from ...settings import check
from ..networks import Network
from .guides import Guide
from .solver_schedules import Steps
from .solvers import Level, Source

Metrics = dict[str, Tensor]
Draws = tuple[Tensor, ...]


class Process(nn.Module, ABC):
    """The maths of one generative family; t = 0 is data and t = 1 is noise, always.

    Shapes: x, noise (B, H, A) in normalized units; cond (B, h, D); mask (B, H), False on padding.

    What a process can do beyond its loss and its path is stated by the attributes below, so that nobody asks for its
    name or class. A process whose settings decide sets them in its constructor.
    """

    n_times: int = 1
    """How many times the network is conditioned on."""

    inner_draws: int = 0
    """Draws (B, H, A) of noise within one sample; only a stochastic solver has any."""

    choices: tuple[str, ...] = ()
    """What a solver schedule may choose for each step, by the names of `SolverStep`; nothing without steps."""

    time_levels: int | None = None
    """A schedule's times are multiples of 1 / time_levels; None takes any."""

    deterministic: bool = False
    """A sample does not depend on the noise: all candidates are the same."""

    learns_from_data: bool = True
    """The loss teaches a policy from demonstrations alone."""

    teachable: bool = False
    """It learns from coupled pairs of noise and sample (reflow), see `pair_loss`."""

    denoises: bool = False
    """`denoise` sees the clean data at any time of `noise_path`, so that its ODE can be followed (CTM's teacher)."""

    predicts_data: bool = False
    """It goes along `noise_levels` by `predict_data`: a guide is followed on the way, and steps can draw noise."""

    estimates_data: bool = False
    """`one_call` gives the loss and an estimate of the clean data by the same network call (EDP)."""

    regresses: bool = False
    """Its loss is the squared error of one `regression`, which can be weighed sample by sample."""

    needs_smooth_network: bool = False
    """The loss contains a derivative of the network, so that one with corners does not do."""

    squashes: bool = False
    """Samples end in tanh, so that actions have to be normalized to [-1, 1]."""

    noise_path: tuple[str, int | None] | None = None
    """Noise schedule by name, "straight" for (1 - t) x + t eps, and its discrete levels; None has no noised data."""

    def __init__(self, config: Any) -> None:
        """Take the settings; a subclass calls this first.

        Args:
            config: the process's `Config`.

        Raises:
            LaminarError: a setting is outside its bounds.
        """
        super().__init__()
        check(config, "policy.process")
        self.config = config

    @property
    def num_steps(self) -> int:
        """K, the configured number of steps from the noise to a sample."""
        return int(getattr(self.config, "steps", 1))

    @abstractmethod
    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Draw all the randomness of one loss, so that a compiled or captured loss can take it as input."""

    @abstractmethod
    def objective(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """Return the scalar training loss and detached metrics for given `draws`; padded actions do not count."""

    def loss(
        self,
        network: Network,
        x: Tensor,
        cond: Tensor,
        generator: torch.Generator | None = None,
        *,
        mask: Tensor | None = None,
        draws: Draws | None = None,
    ) -> tuple[Tensor, Metrics]:
        """Return `objective`, with draws from `generator` unless they are given."""
        return self.objective(network, x, cond, mask, self.draw(x, generator) if draws is None else draws)

    @abstractmethod
    def path(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        steps: Steps = None,
        generator: Source = None,
    ) -> list[Tensor]:
        """Return all states from the noise to the sample.

        `steps` is a number of steps, None for the configured one, or a solver schedule to follow.
        `generator` serves a stochastic solver only: a generator, or the noise itself, (inner_draws, B, H, A).
        """

    def sample(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        steps: Steps = None,
        generator: Source = None,
        guide: Guide | None = None,
    ) -> Tensor:
        """Map noise (B, H, A) to a sample (B, H, A); a function of the noise alone, except for `ddpm`."""
        if guide is None:
            return self.path(network, noise, cond, steps, generator)[-1]
        return self.guided_path(network, noise, cond, guide, steps, generator)[-1]

    def guided_path(
        self,
        network: Network,
        noise: Tensor,
        cond: Tensor,
        guide: Guide,
        steps: Steps = None,
        generator: Source = None,
    ) -> list[Tensor]:
        """Return `path` with the data corrected that each call predicts, where the process `predicts_data`.

        A process that goes in jumps takes one step along the guide at the sample, as a path of one call does.
        """
        states = self.path(network, noise, cond, steps, generator)
        return [*states[:-1], guide.around(lambda x, level: states[-1])(noise, Level(1.0, 0.0, 1.0))]

    def kernel(self, network: Network, x: Tensor, k: int, cond: Tensor) -> tuple[Tensor, float]:
        """Return one denoising step as a distribution: what is sampled, scored and resampled.

        From the state x_k of `path` (x_0 is the noise) the next one is mean + std * noise, k = 0 .. num_steps - 1:
        the same numbers as `path` in the configured number of steps.

        Args:
            network: as in `path`.
            x: (B, H, A) state before the step.
            k: number of the step, counted from the noise.
            cond: (B, h, D).

        Returns:
            Mean (B, H, A) and standard deviation, 0 for a deterministic step.

        Raises:
            LaminarError: there is no step k, or the process has no steps that stand alone.
        """
        raise self._lacks("kernel", "choose policy=diffusion with policy.process.solver=ddpm, or policy=flow")

    def kernels(self, network: Network, x: Tensor, k: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Return `kernel` for rows at steps of their own, by one network call: the same numbers up to rounding.

        Args:
            network: as in `path`.
            x: (B, H, A) states before the steps.
            k: (B,) whole numbers of the steps; not checked, as that would wait for the device.
            cond: (B, h, D).

        Returns:
            Means (B, H, A) and standard deviations (B, 1, 1).

        Raises:
            LaminarError: the process has no steps that stand alone.
        """
        raise self._lacks("kernels", "choose policy=meanflow, flow or diffusion")

    def regression(self, network: Network, x: Tensor, cond: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return what the network says and what it should, (B, H, A) each: `objective` is their squared error.

        Without the mean over samples and actions, for losses that weigh these.
        """
        raise self._lacks("regression", "choose policy=meanflow, flow or diffusion")

    def check_step(self, k: int) -> None:
        """Refuse a step that there is not.

        Raises:
            LaminarError: k is not 0 .. num_steps - 1.
        """
        if not 0 <= k < self.num_steps:
            raise LaminarError(f"the steps of this {self.config.name} are 0 to {self.num_steps - 1}, got {k}")

    def noise_levels(self, steps: int | None = None) -> Sequence[Level]:
        """Return the levels between the steps of a sample, from noise to data, where the process `predicts_data`."""
        raise self._lacks("noise_levels", "choose policy=diffusion or flow")

    def predict_data(self, network: Network, x: Tensor, level: Level, cond: Tensor) -> Tensor:
        """Clean data (B, H, A) that the network sees in x at one noise level, where the process `predicts_data`."""
        raise self._lacks("predict_data", "choose policy=diffusion or flow")

    def denoise(self, network: Network, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Clean data (B, H, A) that the network sees in x at times (B, 1), where the process `denoises`."""
        raise self._lacks("denoise", "choose policy=diffusion or flow")

    def noised(self, x: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Data x (B, H, A) as they are on `noise_path` at times (B, 1), where the process `denoises`."""
        raise self._lacks("noised", "choose policy=diffusion or flow")

    def one_call(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics, Tensor]:
        """Return `objective` and the clean data (B, H, A) of its network call, where the process `estimates_data`."""
        raise self._lacks("one_call", "choose policy=diffusion")

    def output(self, x: Tensor, times: Tensor, data: Tensor) -> Tensor:
        """What a network says that sees the clean `data` (B, H, A) in x at times (B, n_times), where it `regresses`."""
        raise self._lacks("output", "choose policy=meanflow, flow or diffusion")

    def draw_pair(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Draw all the randomness of one `pair_loss`; fresh noise (B, H, A) first."""
        return self.draw(x, generator)

    def pair_loss(
        self, network: Network, noise: Tensor, x: Tensor, cond: Tensor, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """Learn that noise (B, H, A) becomes x (B, H, A), a teacher's sample for it (reflow, Liu et al. 2023).

        `objective` with that noise in place of an independent one; for a process that is `teachable`.
        """
        return self.objective(network, x, cond, None, (noise, *draws[1:]))

    def fixed(self, calls: int) -> dict[str, Process]:
        """Return this process with each of its deterministic solvers and spacings, set to so many network calls.

        Those that cannot make exactly so many are left out. Schedules are compared with them.
        """
        return {}

    def _lacks(self, what: str, remedy: str) -> LaminarError:
        return LaminarError(f"the process {self.config.name} has no `{what}`; {remedy}")

    # nn.Module wants forward; a process is used through its named methods.
    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Metrics]:
        """Same as `loss`."""
        return self.loss(*args, **kwargs)


PROCESSES = Family("process", __name__, Process)
"""All processes, by name."""


def check_steps(steps: Steps) -> int:
    """Return the number of sampling steps, for a process that follows no solver schedule or has handled it before.

    Raises:
        LaminarError: fewer than one, or no whole number.
    """
    if type(steps) is not int:
        raise LaminarError(f"steps is a whole number or a solver schedule, got {steps!r}")
    if steps < 1:
        raise LaminarError(f"sampling needs at least one step, got {steps}")
    return steps


def even_times(steps: int) -> tuple[float, ...]:
    """Return times from 1 to 0 in so many equal steps."""
    return tuple(1 - i / steps for i in range(steps + 1))


def no_kernel(solver: str, known: Sequence[str]) -> LaminarError:
    """Return the error of a solver whose step is no function of the state before it and one network call."""
    return LaminarError(
        f"policy.process.solver={solver} takes several network calls into a step, so that no step is a function of "
        f"the state before it alone; choose policy.process.solver={' or '.join(known)}"
    )


def squared_error(prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """(B,) mean squared error of each sample over its valid actions.

    Averaged within a sample first, so that the mean over a batch split across processes equals the mean over
    the whole batch.
    """
    error = F.mse_loss(prediction, target, reduction="none").mean(dim=2)  # (B, H)
    if mask is None:
        return error.mean(dim=1)
    return (error * mask).sum(dim=1) / mask.sum(dim=1)
