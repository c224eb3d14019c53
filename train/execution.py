"""Chunks executed in all slots of a world, with the windows that a policy sees before and after each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs.world import World
from ..errors import LaminarError
from ..policies.observations import Windows, as_tensors, check_values


class Execution:
    """A world, and what a policy with a history sees in it; nothing is reset by itself.

    Attributes:
        world: where chunks are executed.
        history: observations that a policy sees.
        execute: actions of a chunk that are executed.
        seen: {key: (B, h, ...)} what a policy sees now; whoever gets these windows may keep them.
    """

    def __init__(self, world: World, history: int, execute: int) -> None:
        """Take over a world, in which no episode runs yet."""
        self.world, self.history, self.execute = world, history, execute
        self.seen = Windows()

    def begin(self, seeds: Mapping[int, int], options: Mapping[int, dict[str, Any]] | None = None) -> None:
        """Begin an episode in some slots, see `World.reset`."""
        self.world.reset(seeds, options)
        self._see(np.array(list(seeds), np.int64), fresh=True)

    def step(self, chunk: Tensor) -> dict[str, Any]:
        """Execute one chunk (B, H, A), raw units, in every slot, and return it as rows.

        Returns:
            "observation" and "next_observation" {key: (B, h, ...)}, "action" (B, execute, A) raw, rows beyond an
            episode's end repeating its last action, "reward" (B,) undiscounted sum, "steps" (B,) control steps,
            "terminated" (B,), "truncated" (B,) never both, "success" (B,) float64, NaN where it was not told.

        Raises:
            LaminarError: the chunk or a reward is not finite.
        """
        before, slots = self.seen, self.world.slots
        chunk = chunk[:, : self.execute].cpu()
        if not math.isfinite(chunk.sum().item()):
            raise LaminarError("the policy's chunk is not finite; look at its weights and at what it sees")
        reward, taken, success = np.zeros(slots), np.zeros(slots, np.int64), np.full(slots, np.nan)
        terminated, truncated = np.zeros((2, slots), np.bool_)
        # A policy with a history sees every observation on the way, which a world does not show of a whole chunk.
        for piece in chunk.split(1 if self.history > 1 else self.execute, dim=1):
            running = np.flatnonzero(~(terminated | truncated))
            if not len(running):
                break
            outcome = self.world.step(piece.numpy(), running)
            reward += outcome.reward
            taken += outcome.steps
            terminated |= outcome.terminated
            truncated |= outcome.truncated
            success = np.fmax(success, outcome.success)  # of NaN and a number the number
            self._see(running)
        self._check(reward)
        last = torch.from_numpy(np.minimum(np.arange(self.execute), taken[:, None] - 1))
        return {
            "observation": before,
            "next_observation": self.seen,
            "action": chunk.gather(1, last.unsqueeze(2).expand_as(chunk)),
            "reward": torch.from_numpy(reward).float(),
            "steps": torch.from_numpy(taken),
            "terminated": torch.from_numpy(terminated),
            "truncated": torch.from_numpy(truncated),
            "success": torch.from_numpy(success),
        }

    def _check(self, reward: NDArray[np.float64]) -> None:
        if not math.isfinite(reward.sum()):
            slot = int(np.flatnonzero(~np.isfinite(reward))[0])
            raise LaminarError(
                f"the environment in slot {slot} gave a reward of {reward[slot]}, which nothing can be learned from; "
                "correct it, or register it in a wrapper that does"
            )

    def _see(self, chosen: NDArray[np.int64], fresh: bool = False) -> None:
        """Append what is in view to the windows of some slots; a fresh one repeats it."""
        current = as_tensors(self.world.spec, self.world.observations, None)
        check_values(self.world.spec, current)
        index = torch.from_numpy(chosen)
        windows = Windows()
        for key, value in current.items():
            repeated = value.unsqueeze(1).expand(-1, self.history, *value.shape[1:])
            before = self.seen.get(key)
            # rows that were given away stay as they are
            window = repeated.clone() if before is None else before.clone()
            shifted = torch.cat([window[index, 1:], value[index].unsqueeze(1)], dim=1)
            window[index] = repeated[index] if fresh else shifted
            windows[key] = window
        self.seen = windows
