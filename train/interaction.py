"""How a method that learns online acts: chunk by chunk in a world, with what it saw as rows of experience."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..envs.world import World
from ..policies.observations import Windows, as_tensors
from .patience import Patience

Decide = Callable[[Windows], Tensor]
"""Windows {key: (B, h, ...)} -> chunks (B, H, A), raw units."""
RECENT = 100
"""Episodes that the means of success and return are taken over."""
_APART = 1 << 32  # first seed of episodes that are learned from, beyond those that anybody evaluates with
_EACH = 1 << 24  # seeds that one run may use


class Interaction:
    """Episodes in all slots of a world, one after the other, executed chunk by chunk.

    A row is a chunk: what was seen before it, what was executed, the sum of its rewards, and where it led. A chunk ends
    with its episode; time limits are no terminals, and what is seen last is kept, so that it can be bootstrapped from.

    Attributes:
        steps: control steps so far, of all slots.
    """

    def __init__(self, world: World, history: int, execute: int, seed: int, patience: float | None = None) -> None:
        """Begin an episode in every slot.

        Args:
            world: where to act.
            history: observations that a policy sees.
            execute: actions of a chunk that are executed.
            seed: of the run; its episodes have seeds that no other run and no evaluation uses.
            patience: see `Patience`; None lets every episode run to its own end.
        """
        self.world, self.history, self.execute = world, history, execute
        self.steps = 0
        self._first = _APART + seed * _EACH
        self._episodes = 0
        self._windows = Windows()
        # return, success and control steps of the episode in each slot; -1 where success is not told
        self._running = np.zeros((3, world.slots))
        self.patience = Patience(patience)
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._begin(np.ones(world.slots, np.bool_))

    def step(self, decide: Decide) -> dict[str, Any]:
        """Execute one chunk in every slot, and return it as rows.

        Returns:
            "observation" and "next_observation" {key: (B, h, ...)}, "action" (B, execute, A) raw, rows beyond an
            episode's end repeating its last action, "reward" (B,) undiscounted sum, "steps" (B,), "terminated" (B,),
            "ended" (B,), also by a time limit or by patience.
        """
        seen = self._windows
        chunk = decide(seen)[:, : self.execute].cpu()
        reward, taken = np.zeros(self.world.slots), np.zeros(self.world.slots, np.int64)
        terminated, ended = np.zeros((2, self.world.slots), np.bool_)
        # A policy with a history sees every observation on the way, which a world does not show of a whole chunk.
        for piece in chunk.split(1 if self.history > 1 else self.execute, dim=1):
            running = np.flatnonzero(~ended)
            if not len(running):
                break
            outcome = self.world.step(piece.numpy(), running)
            reward += outcome.reward
            taken += outcome.steps
            terminated |= outcome.terminated
            ended |= outcome.ended
            self._running[1] = np.fmax(self._running[1], outcome.success)  # of NaN and a number the number
            self._see(running)
        self.steps += int(taken.sum())
        self._running[0] += reward
        self._running[2] += taken
        self.patience.learn(self._running[2, terminated & (self._running[1] > 0)])
        ended |= self._running[2] >= self.patience.limit
        last = torch.from_numpy(np.minimum(np.arange(self.execute), taken[:, None] - 1))
        rows = {
            "observation": dict(seen),
            "next_observation": dict(self._windows),
            "action": chunk.gather(1, last.unsqueeze(2).expand_as(chunk)),
            "reward": torch.from_numpy(reward).float(),
            "steps": torch.from_numpy(taken),
            "terminated": torch.from_numpy(terminated),
            "ended": torch.from_numpy(ended),
        }
        self._recent.extend(self._running[:2, slot].tolist() for slot in np.flatnonzero(ended))  # type: ignore[misc]
        self._begin(ended)
        return rows

    @property
    def seen(self) -> Windows:
        """{key: (B, h, ...)} what a policy sees now."""
        return self._windows

    def figures(self) -> dict[str, Tensor]:
        """Return control steps so far, and means over the last episodes that ended, if there are any."""
        found = {"env_steps": torch.tensor(float(self.steps)), "episodes": torch.tensor(float(self._ended))}
        if self._recent:
            recent = np.array(self._recent)
            found["train_return"] = torch.tensor(recent[:, 0].mean())
            if (recent[:, 1] >= 0).any():
                found["train_success"] = torch.tensor(recent[recent[:, 1] >= 0, 1].mean())
        return found

    @property
    def _ended(self) -> int:
        return self._episodes - self.world.slots

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs beside the world's own state."""
        recent = torch.zeros(RECENT, 2, dtype=torch.float64)
        recent[: len(self._recent)] = torch.tensor(list(self._recent), dtype=torch.float64).reshape(-1, 2)
        return {f"seen.{key}": value for key, value in self._windows.items()} | {
            "recent": recent,
            "running": torch.from_numpy(self._running.copy()),
            "patience": self.patience.state(),
            "counts": torch.tensor([self.steps, self._episodes, len(self._recent)]),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        frames = {key.removeprefix("seen."): value for key, value in state.items() if key.startswith("seen.")}
        self._windows = Windows(frames)
        self._running = state["running"].numpy().copy()
        self.patience.load_state(state["patience"])
        self.steps, self._episodes, recent = (int(value) for value in state["counts"])
        self._recent = deque((tuple(row) for row in state["recent"][:recent].tolist()), maxlen=RECENT)

    def _begin(self, slots: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Begin a new episode in some slots."""
        chosen = np.flatnonzero(slots)
        if not len(chosen):
            return
        self.world.reset({int(slot): self._first + self._episodes + n for n, slot in enumerate(chosen)})
        self._episodes += len(chosen)
        self._running[:, chosen] = np.array([[0.0], [-1.0], [0.0]])
        self._see(chosen, fresh=True)

    def _see(self, chosen: np.ndarray[Any, Any], fresh: bool = False) -> None:
        """Append what is in view to the windows of some slots; a fresh one repeats it."""
        current = as_tensors(self.world.spec, self.world.observations, None)
        index = torch.from_numpy(chosen)
        windows = Windows()
        for key, value in current.items():
            repeated = value.unsqueeze(1).expand(-1, self.history, *value.shape[1:])
            before = self._windows.get(key)
            window = (
                repeated.clone() if before is None else before.clone()
            )  # rows that were given away stay as they are
            shifted = torch.cat([window[index, 1:], value[index].unsqueeze(1)], dim=1)
            window[index] = repeated[index] if fresh else shifted
            windows[key] = window
        self._windows = windows
