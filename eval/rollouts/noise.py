"""The noise of an episode: what a seed means, wherever the episode is run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NOISE_BLOCK = 32  # steps of noise drawn at a time; part of what a seed means, so do not change it


class EpisodeNoise:
    """Standard normal noise for each slot, from a generator seeded with the slot's episode."""

    def __init__(self, shape: Sequence[int] | None, slots: int) -> None:
        self.shape = None if shape is None else tuple(shape)
        self.generators = [torch.Generator() for _ in range(slots)]
        self.rows = torch.arange(slots)
        self.phase = torch.full((slots,), NOISE_BLOCK)
        self.blocks = torch.zeros(slots, NOISE_BLOCK, *(self.shape or ()))

    def reset(self, slot: int, seed: int) -> None:
        """Start the stream of an episode."""
        self.generators[slot].manual_seed(seed)
        self.phase[slot] = NOISE_BLOCK

    def next(self) -> Tensor | None:
        """Return the noise of this step for all slots (B, *shape)."""
        if self.shape is None:
            return None
        for slot in torch.nonzero(self.phase == NOISE_BLOCK).flatten().tolist():
            self.blocks[slot].normal_(generator=self.generators[slot])
            self.phase[slot] = 0
        noise = self.blocks[self.rows, self.phase]
        self.phase += 1
        return noise
