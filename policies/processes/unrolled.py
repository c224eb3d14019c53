"""Sampling loops whose times are known: what does not depend on the chunk is computed once for all calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..networks import Network
from . import Process
from .solver_schedules import SolverSchedule, Steps


class Unrolled:
    """A network inside a loop whose times are known; stands in for it in one pass through the loop.

    The network's `conditions` and `body` in place of its `forward`: the same numbers up to rounding, and derivatives.
    """

    def __init__(self, network: Network, times: Tensor) -> None:
        """Take the network and its times (K, n_times), see `call_times`."""
        self.network, self.times = network, times
        self.cond: Tensor | None = None
        self.conditions: Sequence[Any] = ()
        self.calls = 0

    def __call__(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Evaluate the next of the K calls; see `Network.forward`."""
        if self.calls == 0:
            self.cond, self.conditions = cond, self.network.conditions(self.times, cond)
        elif cond is not self.cond:
            raise TypeError("a sampling loop that is built once has one condition from its start to its end")
        self.calls += 1
        return self.network.body(x, self.conditions[self.calls - 1])


def call_times(process: Process, steps: Steps = None, device: torch.device | None = None) -> Tensor:
    """Return the times (K, n_times) of each network call of a sample; they never depend on what the network says.

    Made on the device now, so that a loop which is captured or compiled copies nothing from the host.
    """
    recorder: Any = _Recorder()
    zeros = torch.zeros(1, 1, 1)
    source = zeros.expand(inner_draws(process, steps), *zeros.shape)
    process.sample(recorder, zeros, zeros, steps, source)
    return torch.tensor(recorder.times, device=device)


def inner_draws(process: Process, steps: Steps) -> int:
    """Draws of noise within a sample of `steps` calls; a solver schedule never makes any."""
    if not process.inner_draws or isinstance(steps, SolverSchedule):
        return 0
    return process.inner_draws if steps is None else steps - 1


@dataclass(frozen=True)
class Calls:
    """The network calls of one decision.

    Attributes:
        times: (K, n_times) of each call, where all rows of a call have the same and none depends on what the network
            says; else None.
        count: calls that are made one after the other.
        rows: of the network in each of them, for one observation.
        inner_draws: further noise (inner_draws, rows, H, A) that a stochastic solver takes on the way.
    """

    times: Tensor | None
    count: int
    rows: int = 1
    inner_draws: int = 0

    @property
    def evaluations(self) -> int:
        """Evaluations of the network for one observation: what samplers are compared by."""
        return self.count * self.rows


class _Recorder:
    """Stands in for the network and writes down the times that it is called with."""

    def __init__(self) -> None:
        self.times: list[list[float]] = []

    def __call__(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        self.times.append(times[0].tolist())
        return torch.zeros_like(x)
