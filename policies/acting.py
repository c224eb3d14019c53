"""From chunks to single actions: an actor keeps the history, decides when to plan, and hands out the actions.

    actor = Actor(policy)
    action = actor.act(observation)      # (B, A); the policy is asked only where a chunk is due
    actor.reset(done)                    # when an episode starts

A learner takes `decide`, which tells what was planned, and `pop` in place of `act`. Where inference is slow, `observe`,
`due`, `plan` and `take` are its parts: `plan` touches no state and may run beside the execution of the last chunk.

All state is batched over robots or environment slots, each of which can be reset alone. It lies where the observations
come from, and the host always knows who plans: with observations on the host and a policy on a GPU nothing waits for
the device but the chunk itself, which is copied once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import LaminarError
from .observations import Observation, Windows, as_tensors, check_values
from .policy import Policy

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Decision:
    """What an actor decided at one moment.

    Attributes:
        slots: (B,) which slots planned, P of them.
        windows: key -> (P, h, ...) what they saw.
        noise: (P, *noise_shape) that their chunks were made of; None for a policy without noise.
        chunk: (P, H, A) raw units.
    """

    slots: Mask
    windows: Windows
    noise: Tensor | None
    chunk: Tensor


class Actor:
    """Acts for B robots or slots with one policy.

    Attributes:
        policy: any policy.
    """

    def __init__(self, policy: Policy, generator: torch.Generator | None = None) -> None:
        """Act as the policy's Spec says: `history` observations, `execute` actions of a chunk, or `ensemble`.

        Args:
            policy: any policy.
            generator: of noise that is not given, on the policy's device; None is torch's default one.
        """
        self.policy, self.generator = policy, generator
        spec = policy.spec
        self._history = History(spec.history)
        self._plans: Plans = RecedingHorizon(spec.execute) if spec.ensemble is None else TemporalEnsemble(spec.ensemble)
        self._device = torch.device(getattr(policy, "device", "cpu"))

    def act(self, obs: Observation, noise: Tensor | None = None) -> Tensor:
        """Return the actions (B, A) of this moment, raw units, where the observation is.

        Args:
            obs: {key: (B, ...)} the current observation only; a single array where there is one key.
            noise: (B, *noise_shape) used by the slots that plan now; drawn when None.

        Raises:
            LaminarError: a key is missing or unknown, a width is wrong, a value on the host is not finite, or the
                number of slots has changed since the last reset of all.
        """
        self.decide(obs, noise)
        return self.pop()

    def decide(self, obs: Observation, noise: Tensor | None = None) -> Decision | None:
        """Plan a chunk for the slots where one is due; None where none is. `pop` gives the actions.

        Raises:
            LaminarError: as `act` does.
        """
        windows = self.observe(obs)
        slots = self.due()
        if not slots.any():
            return None
        decision = self.plan(windows, slots, noise)
        self.take(decision)
        return decision

    @torch.no_grad()
    def observe(self, obs: Observation) -> Windows:
        """Append an observation {key: (B, ...)} to the history and return the windows {key: (B, h, ...)} of all slots.

        Raises:
            LaminarError: as `act` does.
        """
        current = as_tensors(self.policy.spec, obs, None)
        check_values(self.policy.spec, current)
        return self._history.push(current)

    def due(self) -> Mask:
        """(B,) which slots need a new chunk before the next `pop`."""
        return self._plans.due(self._history.slots)

    @torch.no_grad()
    def plan(self, windows: Windows, slots: Mask, noise: Tensor | None = None) -> Decision:
        """Ask the policy for the chunks of some slots; changes nothing, so that another thread may do it.

        Args:
            windows: from `observe`.
            slots: (B,) who plans, P of them.
            noise: (B, *noise_shape); drawn for the P when None.
        """
        seen = windows if slots.all() else windows.rows(torch.from_numpy(np.flatnonzero(slots)))
        where = next(iter(seen.values())).device
        if noise is not None:
            noise = noise if slots.all() else noise[torch.from_numpy(np.flatnonzero(slots)).to(noise.device)]
        elif self.policy.noise_shape is not None:
            shape = (int(slots.sum()), *self.policy.noise_shape)
            noise = torch.randn(shape, device=self._device, generator=self.generator)
        return Decision(slots, seen, noise, self.policy.sample(seen, noise).to(where))

    def take(self, decision: Decision) -> None:
        """Execute the chunks of a decision from now on."""
        self._plans.push(decision.chunk, decision.slots)

    def pop(self) -> Tensor:
        """(B, A) actions of this moment; every slot must have a chunk that is not used up."""
        return self._plans.pop()

    def reset(self, mask: Any = None) -> None:
        """Forget history and chunk of the slots in `mask` (B,) bool, or of all; call it when an episode starts.

        Raises:
            LaminarError: the mask is of another number of slots, or of numbers.
        """
        slots = None if mask is None else _as_mask(mask, self._history.slots)
        self._history.reset(slots)
        self._plans.reset(slots)


def _as_mask(mask: Any, slots: int) -> Mask:
    """Return a mask on the host; one of any length while the number of slots is unknown (0)."""
    values = np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask)
    if values.dtype != np.bool_ or values.ndim != 1 or (slots and len(values) != slots):
        raise LaminarError(
            f"reset takes one True or False for each of the {slots or 'B'} slots, got shape {values.shape} of "
            f"{values.dtype}"
        )
    return values


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
        self._fresh[:] = False
        return self._frames

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
        else:
            self._cursor[mask] = self.execute

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
        """(B, A) actions of this moment; every slot must have a chunk."""
        if self._chunks is None or self._cursor is None:
            raise RuntimeError("pop before a decision: there is no chunk yet")
        first = int(self._cursor[0])
        if (self._cursor == first).all():  # slots that step together mostly are
            actions = self._chunks[:, first].clone()
        else:
            rows = torch.arange(len(self._cursor), device=self._chunks.device)
            actions = self._chunks[rows, torch.from_numpy(self._cursor).to(self._chunks.device)]
        self._cursor = self._cursor + 1
        return actions


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
        if self._chunks is None or self._count is None:
            raise RuntimeError("pop before a decision: there is no chunk yet")
        age = torch.arange(self._chunks.shape[1], device=self._chunks.device)
        predictions = self._chunks[:, age, age]  # (B, age, A): the chunk of age a says a steps ahead
        count = torch.from_numpy(self._count).to(self._chunks.device)
        rank = count[:, None] - 1 - age  # 0 for the oldest valid chunk
        weight = torch.exp(-self.decay * rank) * (rank >= 0)
        return (predictions * (weight / weight.sum(dim=1, keepdim=True))[:, :, None]).sum(dim=1)
