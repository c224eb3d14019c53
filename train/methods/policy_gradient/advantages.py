"""Generalized advantage estimation over executed chunks (GAE, Schulman et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor


def advantages(
    reward: Tensor, discount: Tensor, ended: Tensor, value: Tensor, next_value: Tensor, trace: float
) -> Tensor:
    """Return A_t = delta_t + d_t lambda A_{t+1} with delta_t = r_t + d_t V(s'_t) - V(s_t), (T, B).

    An episode that is cut off is bootstrapped from where it led, one that terminated has d_t = 0; over the end of
    either no advantage is carried.

    Args:
        reward: (T, B) of each chunk.
        discount: (T, B) d_t, of as many control steps as the chunk had; 0 where the task terminated.
        ended: (T, B) bool, the episode was over after the chunk, in whatever way.
        value: (T, B) V of what was seen before the chunk.
        next_value: (T, B) V of where it led.
        trace: lambda.
    """
    delta = reward + discount * next_value - value
    carried = trace * discount * ~ended
    found, after = torch.empty_like(delta), torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        after = delta[t] + carried[t] * after
        found[t] = after
    return found


def explained_variance(value: Tensor, target: Tensor) -> Tensor:
    """Return (), the share of the targets' variance that the values explain: 1 is all, 0 is a constant's."""
    return 1 - (target - value).var(correction=0) / target.var(correction=0).clamp_min(1e-8)
