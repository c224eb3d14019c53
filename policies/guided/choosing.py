"""The choice among finished candidates: best of N, and the softmax of Q."""

from __future__ import annotations

import torch
from torch import Tensor

from .acting import Acting

_TAIL = 10.0  # deviations; float32 still tells the normal distribution function from 0 and 1 there
_LEAST_SPREAD = 1e-6  # of Q among candidates


def choose(values: Tensor, noise: Tensor, acting: Acting) -> Tensor:
    """Choose one of N candidates; the first of several equal ones where nothing is drawn.

    Args:
        values: (B, N) of the candidates.
        noise: (B, N) standard normal, of which the candidate with the highest Q + temperature * Gumbel variable is a
            draw from the softmax (Maddison et al. 2014).
        acting: selection and temperature.

    Returns:
        (B,) indices.
    """
    if acting.zscore:
        spread = values.std(dim=1, keepdim=True, correction=0).clamp(min=_LEAST_SPREAD)
        values = (values - values.mean(dim=1, keepdim=True)) / spread
    if acting.selection == "softmax":
        values = values + acting.temperature * gumbel(noise)
    return values.argmax(dim=1)


def gumbel(noise: Tensor) -> Tensor:
    """Return -log(-log u), a Gumbel variable, of standard normal noise; u = Phi(noise) is uniform."""
    return -(-torch.special.log_ndtr(noise.clamp(-_TAIL, _TAIL))).log()


def uniform(noise: Tensor) -> Tensor:
    """Return Phi(noise), uniform and below 1, in double precision, in which sums of many are."""
    return torch.special.ndtr(noise).double().clamp(max=1 - 1e-9)
