"""A process of one's own: from noise to data on a quarter of a circle instead of a straight line.

x_a = cos(a) x + sin(a) eps, with the angle a from 0 (data) to pi/2 (noise); the network learns the velocity
cos(a) eps - sin(a) x. Between two angles the solution for a fixed prediction is a rotation, so that a step makes no
error of its own (Salimans & Ho 2022, app. D; TrigFlow, Lu & Song 2025).

    python examples/own/process.py train policy=trigonometric policy.process.steps=4 data.path=demos.hdf5 out=runs/trig
    python examples/own/process.py eval policy.path=runs/trig env.id=laminar/PointMaze-v0 processes=2
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

import laminar
from laminar.cli import main
from laminar.policies.networks import Network
from laminar.policies.processes import Draws, Metrics, Process, check_steps, even_times, squared_error
from laminar.policies.processes.solver_schedules import Steps
from laminar.policies.processes.solvers import Source
from laminar.settings import number


@dataclass
class Config:
    """Settings: `policy.process.…` on the command line, bounds included."""

    name: str = "trigonometric"
    steps: int = number(5, least=1)  # network calls a sample


class Trigonometric(Process):
    """Times are t = 2 a / pi: 0 is data and 1 is noise, as in every process."""

    teachable = True  # `objective` with a teacher's noise in place of fresh one makes sense: reflow

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Draws:
        """Return noise (B, H, A) and uniform times (B, 1): all the randomness of one loss."""
        noise = torch.randn(x.shape, device=x.device, generator=generator)
        return noise, torch.rand(len(x), 1, device=x.device, generator=generator)

    def objective(
        self, network: Network, x: Tensor, cond: Tensor, mask: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Metrics]:
        """E || v(x_a, t) - (cos(a) eps - sin(a) x) ||^2; padded actions do not count."""
        noise, t = draws
        angle = 0.5 * math.pi * t[:, :, None]  # (B, 1, 1)
        x_a = angle.cos() * x + angle.sin() * noise  # (B, H, A)
        velocity = angle.cos() * noise - angle.sin() * x  # (B, H, A)
        loss = squared_error(network(x_a, t, cond), velocity, mask).mean()
        return loss, {"loss": loss.detach()}

    def path(
        self, network: Network, noise: Tensor, cond: Tensor, steps: Steps = None, generator: Source = None
    ) -> list[Tensor]:
        """Return the states (B, H, A) from the noise to the sample, in equal steps of the angle."""
        times = even_times(self.num_steps if steps is None else check_steps(steps))
        states = [noise]
        for now, after in pairwise(times):
            states.append(_rotate(network, states[-1], now, after, cond))
        return states

    def kernel(self, network: Network, x: Tensor, k: int, cond: Tensor) -> tuple[Tensor, float]:
        """Return step k of `path`, which has no deviation."""
        self.check_step(k)
        now, after = even_times(self.num_steps)[k : k + 2]
        return _rotate(network, x, now, after, cond), 0.0


def _rotate(network: Network, x: Tensor, now: float, after: float, cond: Tensor) -> Tensor:
    """x_b = cos(a - b) x_a - sin(a - b) v(x_a, t)."""
    turn = 0.5 * math.pi * (now - after)
    return math.cos(turn) * x - math.sin(turn) * network(x, x.new_full((len(x), 1), now), cond)


if __name__ == "__main__":
    laminar.register("process", sys.modules[__name__])
    sys.exit(main(sys.argv[1:]))
