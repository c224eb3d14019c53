"""What an actor keeps of each slot: the history of observations, and how chunks become single actions.

All state is batched over robots or environment slots, and every slot can be reset alone. It lies where the observations
come from; what decides who plans is on the host, so that nobody waits for a device to know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import LaminarError
from .observations import Windows

Mask = NDArray[np.bool_]


class History:
    """The last `length` observations of each slot, oldest first; a fresh slot repeats its first observation."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._frames = Windows()
        self._fresh: Mask | None = None

    @property
    def slots(self) -> int:
        """B, since the last reset of all slots."""
        return 0 if self._fresh is None else len(self._fresh)

    def reset(self, mask: Mask | None = None) -> None:
        """Forget the slots in `mask` (B,), or all of them."""
        if mask is None or self._fresh is None:
            self._frames, self._fresh = Windows(), None
        else:
            self._fresh = self._fresh | mask

    def push(self, observation: dict[str, Tensor]) -> Windows:
        """Append one observation {key: (B, ...)} and return the windows {key: (B, length, ...)}, in fresh memory.

        Raises:
            LaminarError: B has changed since the last reset of all slots.
        """
        if self._fresh is None:
            self._fresh = np.ones(len(next(iter(observation.values()))), bool)
        for key, value in observation.items():
            if len(value) != len(self._fresh):
                raise LaminarError(
                    f"observation '{key}' is of {len(value)} robots, the last one was of {len(self._fresh)}; "
                    "call reset() when their number changes"
                )
        self._frames = Windows({key: self._push(key, value) for key, value in observation.items()})
        self._fresh = np.zeros_like(self._fresh)
        # Longer windows are looked at again by the next push: whoever gets these may write to them.
        return self._frames if self.length == 1 else Windows({key: one.clone() for key, one in self._frames.items()})

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs; nothing after a reset of all slots."""
        if self._fresh is None:
            return {}
        return {f"frames.{key}": value for key, value in self._frames.items()} | {"fresh": torch.tensor(self._fresh)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        frames = {key.removeprefix("frames."): value for key, value in state.items() if key.startswith("frames.")}
        self._frames = Windows(frames)
        self._fresh = state["fresh"].numpy().copy() if "fresh" in state else None

    def _push(self, key: str, value: Tensor) -> Tensor:
        """(B, length, ...); a copy also of the newest observation, whose memory its sender may write to again."""
        assert self._fresh is not None
        if self.length == 1:
            return value.unsqueeze(1).clone()
        repeated = value.unsqueeze(1).expand(-1, self.length, *value.shape[1:])
        if key not in self._frames or self._fresh.all():
            return repeated.clone()
        shifted = torch.cat([self._frames[key][:, 1:], value.unsqueeze(1)], dim=1)
        if self._fresh.any():
            fresh = torch.from_numpy(np.flatnonzero(self._fresh)).to(value.device)
            shifted[fresh] = repeated[fresh]
        return shifted


class Plans(Protocol):
    """How chunks become actions."""

    def due(self, slots: int) -> Mask:
        """(B,) who needs a new chunk now."""
        ...

    def push(self, chunks: Tensor, mask: Mask) -> None:
        """Store new chunks (P, H, A), one for each slot set in `mask` (B,)."""
        ...

    def pop(self) -> Tensor:
        """(B, A) actions of this moment."""
        ...

    def reset(self, mask: Mask | None) -> None:
        """Drop the chunks of the slots in `mask` (B,), or of all."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs; nothing before the first chunk."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        ...


class RecedingHorizon:
    """Execute the first `execute` actions of a chunk, then plan again (Chi et al. 2023)."""

    def __init__(self, execute: int) -> None:
        self.execute = execute
        self._chunks: Tensor | None = None
        self._cursor: NDArray[np.int64] | None = None  # (B,) actions of its chunk that a slot has executed

    def reset(self, mask: Mask | None = None) -> None:
        """Drop the chunks of the slots in `mask` (B,), or of all."""
        if mask is None or self._cursor is None:
            self._chunks, self._cursor = None, None
        elif self._chunks is not None:
            self._cursor[mask] = max(self._chunks.shape[1], self.execute)  # past the end: nothing there is valid

    def due(self, slots: int) -> Mask:
        """(B,) who needs a new chunk now."""
        return np.ones(slots, bool) if self._cursor is None else self._cursor >= self.execute

    def push(self, chunks: Tensor, mask: Mask) -> None:
        """Store new chunks (P, H, A), one for each slot set in `mask` (B,)."""
        if self._chunks is None or self._cursor is None:
            self._chunks = chunks.new_zeros(len(mask), *chunks.shape[1:])
            self._cursor = np.full(len(mask), self.execute)
        # In new memory: what was made in inference mode could not be written to outside of it.
        if mask.all():
            self._chunks = chunks.clone()
        else:
            self._chunks = self._chunks.clone()
            self._chunks[torch.from_numpy(np.flatnonzero(mask)).to(chunks.device)] = chunks
        self._cursor[mask] = 0

    def pop(self) -> Tensor:
        """(B, A) actions of this moment, also beyond `execute` while the next chunk is late.

        Raises:
            LaminarError: a slot has no chunk, or has used it up.
        """
        if self._chunks is None or self._cursor is None or (self._cursor >= self._chunks.shape[1]).any():
            raise LaminarError("a slot has no action left: decide, or take a decision, before you pop")
        first = int(self._cursor[0])
        if (self._cursor == first).all():  # slots that step together mostly are
            actions = self._chunks[:, first].clone()
        else:
            rows = torch.arange(len(self._cursor), device=self._chunks.device)
            actions = self._chunks[rows, torch.from_numpy(self._cursor).to(self._chunks.device)]
        self._cursor = self._cursor + 1
        return actions

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs; nothing before the first chunk."""
        if self._chunks is None or self._cursor is None:
            return {}
        return {"chunks": self._chunks, "cursor": torch.tensor(self._cursor)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self._chunks = state.get("chunks")
        self._cursor = state["cursor"].numpy().copy() if "cursor" in state else None


class TemporalEnsemble:
    """Plan at every step and average all chunks that speak of this moment (Zhao et al. 2023, ACT).

    The weight of the i-th oldest prediction is exp(-decay * i): the older, the heavier.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._chunks: Tensor | None = None  # (B, age, H, A), age 0 is the newest
        self._count: NDArray[np.int64] | None = None  # (B,) chunks since the reset

    def reset(self, mask: Mask | None = None) -> None:
        """Forget the chunks of the slots in `mask` (B,), or of all."""
        if mask is None or self._count is None:
            self._chunks, self._count = None, None
        else:
            self._count[mask] = 0

    def due(self, slots: int) -> Mask:
        """(B,) always all."""
        return np.ones(slots, bool)

    def push(self, chunks: Tensor, mask: Mask) -> None:
        """Add one chunk (H, A) for every slot; `mask` is all True."""
        if self._chunks is None or self._count is None:
            self._chunks = chunks.unsqueeze(1).repeat(1, chunks.shape[1], 1, 1)
            self._count = np.zeros(len(mask), np.int64)
        self._chunks = torch.cat([chunks.unsqueeze(1), self._chunks[:, :-1]], dim=1)
        self._count = np.minimum(self._count + 1, chunks.shape[1])

    def pop(self) -> Tensor:
        """(B, A) weighted mean over the chunks that are young enough to cover this moment."""
        if self._chunks is None or self._count is None or (self._count == 0).any():
            raise LaminarError("a slot has no action left: decide, or take a decision, before you pop")
        age = torch.arange(self._chunks.shape[1], device=self._chunks.device)
        predictions = self._chunks[:, age, age]  # (B, age, A): the chunk of age a says a steps ahead
        count = torch.from_numpy(self._count).to(self._chunks.device)
        rank = count[:, None] - 1 - age  # 0 for the oldest valid chunk
        weight = torch.exp(-self.decay * rank) * (rank >= 0)
        return (predictions * (weight / weight.sum(dim=1, keepdim=True))[:, :, None]).sum(dim=1)

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs; nothing before the first chunk."""
        if self._chunks is None or self._count is None:
            return {}
        return {"chunks": self._chunks, "count": torch.tensor(self._count)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self._chunks = state.get("chunks")
        self._count = state["count"].numpy().copy() if "count" in state else None
