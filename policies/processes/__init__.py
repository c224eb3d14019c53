"""Generative processes: how noise becomes data. One family a file, no weights of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import LaminarError
from ...registry import Family
from ..networks import Network
from .solver_schedules import Steps
from .solvers import Source

Metrics = dict[str, Tensor]
Draws = tuple[Tensor, ...]


class Process(nn.Module, ABC):
    """The maths of one generative family; t = 0 is data and t = 1 is noise, always.

    Shapes: x, noise (B, H, A) in normalized units; cond (B, h, D); mask (B, H), False on padding.
    """

    n_times: int = 1
    """How many times the network is conditioned on."""

    inner_draws: int = 0
    """Draws (B, H, A) of noise within one sample; only a stochastic solver has any."""

    choices: tuple[str, ...] = ()
    """What a solver schedule may choose for each step, by the names of `Step`; nothing where there are no steps."""

    time_levels: int | None = None
    """A schedule's times are multiples of 1 / time_levels; None takes any."""

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
    ) -> Tensor:
        """Map noise (B, H, A) to a sample (B, H, A); a function of the noise alone, except for `ddpm`."""
        return self.path(network, noise, cond, steps, generator)[-1]

    def fixed(self, calls: int) -> dict[str, Process]:
        """Return this process with each of its deterministic solvers and spacings, set to so many network calls.

        Those that cannot make exactly so many are left out. Schedules are compared with them.
        """
        return {}

    # nn.Module wants forward; a process is used through its named methods.
    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Metrics]:
        """Same as `loss`."""
        return self.loss(*args, **kwargs)


PROCESSES = Family("process", __name__, Process)
"""All processes, by name."""


def check_steps(steps: int) -> int:
    """Return the number of sampling steps.

    Raises:
        LaminarError: fewer than one, or no whole number.
    """
    if type(steps) is not int:
        raise LaminarError(f"steps is a whole number or a solver schedule, got {steps!r}")
    if steps < 1:
        raise LaminarError(f"sampling needs at least one step, got {steps}")
    return steps


def squared_error(prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """(B,) mean squared error of each sample over its valid actions.

    Averaged within a sample first, so that the mean over a batch split across processes equals the mean over
    the whole batch.
    """
    error = F.mse_loss(prediction, target, reduction="none").mean(dim=2)  # (B, H)
    if mask is None:
        return error.mean(dim=1)
    return (error * mask).sum(dim=1) / mask.sum(dim=1)
