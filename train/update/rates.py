"""Numbers that change from update to update, as functions of its number: learning rates and averages of weights."""

from __future__ import annotations

import math


def cosine(progress: float, final: float) -> float:
    """Half a cosine from 1 at progress 0 to `final` at progress 1, where it stays."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def warmup_cosine(step: int, steps: int, warmup: int, final: float) -> float:
    """Share of the peak learning rate: linear over `warmup` updates, then half a cosine down to `final` at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return cosine((step - warmup) / max(steps - warmup, 1), final)


def ema_decay(step: int, largest: float, power: float) -> float:
    """Decay of averaged weights, 1 - (1 + step)^-power: small at first, so that the random start is forgotten.

    Chi et al. 2023, as in their code.
    """
    return min(largest, 1 - (1 + step) ** -power)
