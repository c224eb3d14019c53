"""From chunks to single actions: observation history, receding horizon, temporal ensembling.

All state is batched over robots or environment slots, and every slot can be reset alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import LaminarError


class History:
    """The last `length` observations of each slot, oldest first; a fresh slot repeats its first observation."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._frames: dict[str, Tensor] = {}
        self._fresh: Tensor | None = None

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget the slots in `mask` (B,) bool, or all of them."""
        if mask is None or self._fresh is None:
            self._frames, self._fresh = {}, None
        else:
            self._fresh = self._fresh | mask.to(self._fresh.device)

    def push(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Append one observation {key: (B, ...)} and return the windows {key: (B, length, ...)}.

        Raises:
            LaminarError: B has changed since the last reset of all slots.
        """
        if self._fresh is None:
            batch = next(iter(observation.values()))
            self._fresh = torch.ones(len(batch), dtype=torch.bool, device=batch.device)
        for key, value in observation.items():
            if len(value) != len(self._fresh):
                raise LaminarError(
                    f"observation '{key}' is of {len(value)} robots, the last one was of {len(self._fresh)}; "
                    "call reset() when their number changes"
                )
            repeated = value.unsqueeze(1).expand(-1, self.length, *value.shape[1:])
            if key in self._frames:
                shifted = torch.cat([self._frames[key][:, 1:], value.unsqueeze(1)], dim=1)
                fresh = self._fresh.reshape(-1, *[1] * (shifted.ndim - 1))
                self._frames[key] = torch.where(fresh, repeated, shifted)
            else:
                self._frames[key] = repeated
        self._fresh = torch.zeros_like(self._fresh)
        return dict(self._frames)


class RecedingHorizon:
    """Execute the first `execute` actions of a chunk, then plan again (Chi et al. 2023)."""

    def __init__(self, execute: int) -> None:
        self.execute = execute
        self._chunks: Tensor | None = None
        self._cursor: Tensor | None = None

    def reset(self, mask: Tensor | None = None) -> None:
        """Drop the chunks of the slots in `mask` (B,) bool, or of all."""
        if mask is None or self._cursor is None:
            self._chunks, self._cursor = None, None
        else:
            self._cursor = torch.where(mask.to(self._cursor.device), self.execute, self._cursor)

    def wants(self, batch: int) -> Tensor:
        """(B,) bool, the slots that need a new chunk now."""
        if self._cursor is None:
            return torch.ones(batch, dtype=torch.bool)
        return self._cursor >= self.execute

    def push(self, chunks: Tensor, mask: Tensor) -> None:
        """Store new chunks, one row (H, A) for each slot set in `mask`."""
        if self._chunks is None or self._cursor is None:
            self._chunks = chunks.new_zeros(len(mask), *chunks.shape[1:])
            self._cursor = torch.zeros(len(mask), dtype=torch.long, device=chunks.device)
        self._chunks[mask] = chunks
        self._cursor[mask] = 0

    def pop(self) -> Tensor:
        """(B, A) action of this moment; every slot must have a chunk."""
        if self._chunks is None or self._cursor is None:
            raise RuntimeError("pop before push: the policy has no chunk yet")
        actions = self._chunks[torch.arange(len(self._cursor), device=self._cursor.device), self._cursor]
        self._cursor = self._cursor + 1
        return actions


class TemporalEnsemble:
    """Plan at every step and average all chunks that speak of this moment (Zhao et al. 2023, ACT).

    The weight of the i-th oldest prediction is exp(-decay * i): the older, the heavier.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._chunks: Tensor | None = None  # (B, age, H, A), age 0 is the newest
        self._count: Tensor | None = None  # (B,) chunks since the reset

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget the chunks of the slots in `mask` (B,) bool, or of all."""
        if mask is None or self._count is None:
            self._chunks, self._count = None, None
        else:
            self._count = torch.where(mask.to(self._count.device), 0, self._count)

    def wants(self, batch: int) -> Tensor:
        """(B,) bool, always all."""
        return torch.ones(batch, dtype=torch.bool)

    def push(self, chunks: Tensor, mask: Tensor) -> None:
        """Add one chunk (H, A) for every slot; `mask` is all True."""
        if self._chunks is None or self._count is None:
            horizon = chunks.shape[1]
            self._chunks = chunks.unsqueeze(1).repeat(1, horizon, 1, 1)
            self._count = torch.zeros(len(mask), dtype=torch.long, device=chunks.device)
        self._chunks = torch.cat([chunks.unsqueeze(1), self._chunks[:, :-1]], dim=1)
        self._count = (self._count + 1).clamp(max=chunks.shape[1])

    def pop(self) -> Tensor:
        """(B, A) weighted mean over the chunks that are young enough to cover this moment."""
        if self._chunks is None or self._count is None:
            raise RuntimeError("pop before push: the policy has no chunk yet")
        age = torch.arange(self._chunks.shape[1], device=self._chunks.device)
        predictions = self._chunks[:, age, age]  # (B, age, A): the chunk of age a says a steps ahead
        rank = self._count[:, None] - 1 - age  # 0 for the oldest valid chunk
        weight = torch.exp(-self.decay * rank) * (rank >= 0)
        return (predictions * (weight / weight.sum(dim=1, keepdim=True))[:, :, None]).sum(dim=1)
