"""Chunks executed in all slots of a world, with the windows that a policy sees before and after each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs.world import Outcome, World
from ..errors import LaminarError
from ..policies.observations import Windows, check_values


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
        """Begin an episode in some slots, see `World.reset`.

        Raises:
            LaminarError: as `World.reset` does, or an observation is not finite.
        """
        self.world.reset(seeds, options)
        self._see(list(seeds), fresh=True)
        self._check_seen()

    def step(self, chunk: Tensor) -> dict[str, Any]:
        """Execute one chunk (B, H, A), raw units, in every slot, and return it as rows.

        Returns:
            "observation" and "next_observation" {key: (B, h, ...)}, "action" (B, execute, A) raw, rows beyond an
            episode's end repeating its last action, "reward" (B,) undiscounted sum, "steps" (B,) control steps,
            "terminated" (B,), "truncated" (B,) never both, "success" (B,) float64, NaN where it was not told.

        Raises:
            LaminarError: the chunk, a reward or an observation is not finite.
        """
        before = self.seen
        actions: NDArray[np.float32] = chunk[:, : self.execute].cpu().numpy()
        if not math.isfinite(float(actions.sum())):
            raise LaminarError("the policy's chunk is not finite; look at its weights and at what it sees")
        outcome = self._execute(actions)
        self._check_seen()
        over = [slot for slot, ended in enumerate(outcome.ended.tolist()) if ended]
        executed = actions.copy()
        for slot in over:
            executed[slot, outcome.steps[slot] :] = executed[slot, outcome.steps[slot] - 1]
        return {
            "observation": before,
            "next_observation": self.seen,
            "action": torch.from_numpy(executed),
            "reward": torch.from_numpy(outcome.reward).float(),
            "steps": torch.from_numpy(outcome.steps),
            "terminated": torch.from_numpy(outcome.terminated),
            "truncated": torch.from_numpy(outcome.truncated),
            "success": torch.from_numpy(outcome.success),
        }

    def _execute(self, chunk: NDArray[np.float32]) -> Outcome:
        """Execute chunks (B, execute, A), each until its episode ends, and see where they lead."""
        # A policy with a history sees every observation on the way, which a world does not show of a whole chunk.
        piece = 1 if self.history > 1 else self.execute
        outcome = self.world.step(chunk[:, :piece])
        self._see(range(self.world.slots))
        for at in range(piece, self.execute, piece):
            running = np.flatnonzero(~outcome.ended).tolist()
            if not running:
                break
            more = self.world.step(chunk[:, at : at + piece], running)
            outcome.reward += more.reward
            outcome.steps += more.steps
            outcome.terminated |= more.terminated
            outcome.truncated |= more.truncated
            outcome.success = np.fmax(outcome.success, more.success)  # of NaN and a number the number
            self._see(running)
        return outcome

    def _see(self, slots: Sequence[int], fresh: bool = False) -> None:
        """Append what is in view to the windows of some slots; a fresh one repeats it."""
        windows = Windows()
        for key, rows in self.world.observations.items():
            before = self.seen.get(key)
            if before is None or ((fresh or self.history == 1) and len(slots) == len(rows)):
                window = np.repeat(rows[:, None], self.history, axis=1)
            else:
                window = before.numpy().copy()  # rows that were given away stay as they are
                window[slots, :-1] = rows[slots, None] if fresh else window[slots, 1:]
                window[slots, -1] = rows[slots]
            windows[key] = torch.from_numpy(window)
        self.seen = windows

    def _check_seen(self) -> None:
        if not all(math.isfinite(window.sum().item()) for window in self.seen.values()):
            check_values(self.world.spec, {key: window[:, -1] for key, window in self.seen.items()})
