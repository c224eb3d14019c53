"""Denoising steps as Gaussian actions: sampled, and scored by their logarithms of probability.

All scores are means over the numbers of the actions that are executed. DPPO's code takes the whole chunk; what is never
executed has no effect, so that its part of a ratio would be noise.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ....policies.networks import Network
from .agent import Agent

LEAST_SCORE = -5.0
"""Lowest score, as in DPPO's code: what is less likely pulls no further. That code bounds scores by 2 from above as
well, which deviations of 0.1 never reach, and with small ones nothing would be learned."""
_NORMAL = 0.5 * math.log(2 * math.pi)


class Chain(NamedTuple):
    """The tuned part of samples.

    Attributes:
        states: (B, K' + 1, H, A) x before, between and after the tuned steps, normalized; the last is executed.
        scores: (B, K') of each step, or (B,) of chains that are scored as a whole.
    """

    states: Tensor
    scores: Tensor


def draw_noise(agent: Agent, rows: int, generator: torch.Generator) -> Tensor:
    """Return the noise of a sample, (K + 1, rows, H, A): of its start, and of its steps, which is cut off."""
    device = agent.base.device
    noise = torch.randn(agent.steps + 1, rows, *agent.base.noise_shape, generator=generator, device=device)
    noise[1:].clamp_(-agent.config.noise_clip, agent.config.noise_clip)
    return noise


def sample(agent: Agent, network: Network, cond: Tensor, noise: Tensor, high: Any = 0.0, active: int = 0) -> Chain:
    """Sample with exploration in the tuned steps, and with the base's own noise in those before.

    Args:
        agent: whose base makes the first steps.
        network: of the tuned steps.
        cond: (B, h, D).
        noise: from `draw_noise`.
        high: upper bound of a noise head's deviations.
        active: tuned steps that explore, the last ones; 0: all.
    """
    process, x = agent.base.process, noise[0]
    states, scores, quiet = [x], [], agent.steps - (active or agent.tuned_steps)
    for k in range(agent.steps):
        mean, std = process.kernel(network if k >= agent.first else agent.base.network, x, k, cond)
        deviation = _deviation(agent, std, k, cond, high) if k >= agent.first else std
        applied = deviation if k >= quiet else std
        x = mean if isinstance(applied, float) and not applied else mean + applied * noise[k + 1]
        if k < agent.first:
            states = [x]  # the tuned part begins behind it
            continue
        states.append(x)
        scores.append(score(agent, x, mean, deviation))
    found = torch.stack(scores, dim=1)
    if agent.config.objective == "noise_head":
        found = of_chain(agent, noise[0], found)
    return Chain(torch.stack(states, dim=1), found)


def score(agent: Agent, x: Tensor, mean: Tensor, std: Any) -> Tensor:
    """Return log N(x; mean, std^2) (B,) as a mean over the executed numbers of (B, H, A)."""
    log_std = math.log(std) if isinstance(std, float) else std.log()
    each = -0.5 * ((x - mean) / std).square() - log_std - _NORMAL
    return each[:, : agent.executed].mean(dim=(1, 2)).clamp_min(LEAST_SCORE)


def of_chain(agent: Agent, start: Tensor, scores: Tensor) -> Tensor:
    """Join the scores (B, K') of a chain's steps with that of its start (B, H, A), N(0, I): (B,)."""
    first = (-0.5 * start[:, : agent.executed].square() - _NORMAL).mean(dim=(1, 2))
    return (first + scores.sum(dim=1)) / (scores.shape[1] + 1)


def steps(agent: Agent, network: Network, x: Tensor, step: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (B, H, A) and deviation (B, 1, 1) of tuned steps, one a row: step (B,) from 0 to K' - 1."""
    mean, std = agent.base.process.kernels(network, x, step + agent.first, cond)
    return mean, std.clamp_min(agent.config.min_std)


def every_step(agent: Agent, network: Network, states: Tensor, cond: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return states before (B K', H, A), mean and deviation of all tuned steps of whole chains, by one network call."""
    count = agent.tuned_steps
    step = torch.arange(count, device=cond.device).repeat(len(cond))
    before = states[:, :-1].flatten(0, 1)
    mean, std = steps(agent, network, before, step, cond.repeat_interleave(count, dim=0))
    return before, mean, std


def deviations(agent: Agent, cond: Tensor, high: Any) -> Tensor:
    """Return what the noise head deviates by in each tuned step, (B K', H, A)."""
    count = agent.tuned_steps
    step = torch.arange(count, device=cond.device).repeat(len(cond))
    times = 1 - (step + agent.first)[:, None].to(cond.dtype) / agent.steps
    return agent.head(cond.repeat_interleave(count, dim=0), times, high)


def kl(agent: Agent, mean: Tensor, other: Tensor, std: Tensor) -> Tensor:
    """Return the divergence of steps of the same deviation (B,), as a mean over the executed numbers."""
    return (0.5 * ((mean - other) / std).square())[:, : agent.executed].mean(dim=(1, 2))


def _deviation(agent: Agent, std: float, k: int, cond: Tensor, high: Any) -> Any:
    """Deviation of a tuned step that explores."""
    if agent.config.objective != "noise_head":
        return max(std, agent.config.min_std)
    times = cond.new_full((len(cond), 1), 1 - k / agent.steps)
    return agent.head(cond, times, high)
