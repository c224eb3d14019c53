"""Feynman-Kac particles: samples that are weighed and resampled on their way (Singhal et al. 2025).

N particles of each observation go through a sampler that draws noise at every step. After call k a particle is judged
at the clean data that it extrapolates, r_k = Q(x0_hat_k) / temperature, and its weight grows by a potential G_k,

    diff:  log G_k = r_k - r_{k-1}        max:  log G_k = max_{j <= k} r_j        sum:  log G_k = sum_{j <= k} r_j

the last one by log G = r - (sum of log G before), where r = Q / temperature of the sample: all G of a particle and its
ancestors multiply to exp(r). Where the effective sample size has fallen, particles are drawn anew in proportion to
their weights, which then are equal; in the end one is drawn by what they weigh then.

Weights are logarithms throughout, and stay with their particles where nothing is resampled. Each observation resamples
by itself. All sizes are fixed and nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..processes.solvers import DataPrediction, Level, stochastic_step
from .acting import Acting
from .choosing import gumbel, uniform


class Weights(NamedTuple):
    """What is kept of each particle, (B, N) each.

    Attributes:
        log: of the weight since it was last resampled.
        spent: sum of log G along its ancestors.
        memory: of the potential: the last, highest or summed r along its ancestors.
    """

    log: Tensor
    spent: Tensor
    memory: Tensor

    @classmethod
    def equal(cls, like: Tensor, potential: str) -> Weights:
        """Return the weights of the start, shaped like a tensor (B, N)."""
        zeros = torch.zeros_like(like)
        return cls(zeros, zeros, torch.full_like(like, -torch.inf) if potential == "max" else zeros)

    def judged(self, reward: Tensor, potential: str) -> Weights:
        """Return the weights after a potential of r (B, N)."""
        if potential == "diff":
            return self._times(reward - self.memory, reward)
        memory = torch.maximum(self.memory, reward) if potential == "max" else self.memory + reward
        return self._times(memory, memory)

    def finished(self, reward: Tensor) -> Weights:
        """Return the weights after the last potential, for r (B, N) of the samples."""
        return self._times(reward - self.spent, reward)

    def _times(self, gain: Tensor, memory: Tensor) -> Weights:
        return Weights(self.log + gain, self.spent + gain, memory)

    @property
    def effective(self) -> Tensor:
        """(B,) effective sample size, 1 to N."""
        return 1 / self.log.softmax(dim=1).square().sum(dim=1)

    def resampled(self, coins: Tensor, acting: Acting) -> tuple[Tensor, Weights]:
        """Return indices (B, N) of the particles that go on, and their weights; all stay where enough are effective.

        Args:
            coins: (B, N) standard normal; the first of each row serves "systematic".
            acting: when and how.
        """
        count = self.log.shape[1]
        places = torch.arange(count, device=self.log.device)
        due = (self.effective < acting.ess * count)[:, None]
        drawn = draw(self.log, coins, acting.resampling)
        ancestors = torch.where(due, drawn, places)
        log, spent, memory = (one.gather(1, ancestors) for one in self)
        return ancestors, Weights(torch.where(due, torch.zeros_like(log), log), spent, memory)


def draw(log_weights: Tensor, coins: Tensor, resampling: str) -> Tensor:
    """Draw N particles (B, N) in proportion to exp(log_weights) (B, N) of a row; coins (B, N) are standard normal."""
    count = log_weights.shape[1]
    heaps = log_weights.double().softmax(dim=1).cumsum(dim=1)  # (B, N), the last is 1 up to rounding
    points = uniform(coins)
    if resampling == "systematic":
        points = (points[:, :1] + torch.arange(count, device=coins.device)) / count
    points = points * heaps[:, -1:]  # strictly below the last heap, so that a particle without weight is never drawn
    return (heaps[:, None, :] <= points[:, :, None]).sum(dim=2).clamp(max=count - 1)


def noise_shape(count: int, numbers: int, steps: int) -> tuple[int, int]:
    """Shape of one decision's noise: for each particle and step its draw, and a number that resampling takes."""
    return (count, steps * (numbers + 1))


def sample(
    predict: DataPrediction,
    value: Callable[[Tensor], Tensor],
    levels: Sequence[Level],
    noise: Tensor,
    chunk: tuple[int, ...],
    acting: Acting,
) -> Tensor:
    """Draw a chunk (B, H, A) of the tilted distribution.

    Args:
        predict: (x (B N, H, A), level) -> clean data; one network call.
        value: clean data (B N, H, A) -> Q (B N,).
        levels: K + 1, from noise to data.
        noise: (B, N, K (H A + 1)), see `noise_shape`.
        chunk: (H, A).
        acting: the settings.
    """
    (batch, count), steps = noise.shape[:2], len(levels) - 1
    draws = acting.noise_scale * noise[..., :-steps].reshape(batch, count, steps, *chunk)
    coins = noise[..., -steps:].unbind(dim=2)
    reward = torch.zeros_like(noise[..., 0])
    x, weights = draws[:, :, 0], Weights.equal(reward, acting.potential)
    for step, (now, after) in enumerate(pairwise(levels)):
        data = predict(x.flatten(0, 1), now)
        mean, deviation = stochastic_step(data, x.flatten(0, 1), now, after, acting.eta)
        x, last = mean.view(batch, count, *chunk), step == steps - 1
        if last or now.time <= acting.resample_below:
            reward = value(data).view(batch, count) / acting.temperature
            if last:
                break
            ancestors, weights = weights.judged(reward, acting.potential).resampled(coins[step], acting)
            x = x.gather(1, ancestors[..., None, None].expand_as(x))
        x = x + deviation * draws[:, :, step + 1]
    score = reward if acting.selection == "argmax" else weights.finished(reward).log + gumbel(coins[-1])
    return x[torch.arange(batch, device=x.device), score.argmax(dim=1)]
