"""How a method that learns online acts: chunk by chunk in a world, with what it saw as rows of experience."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..envs.world import World
from ..policies.observations import Windows
from .execution import Execution
from .patience import Patience

Decide = Callable[[Windows], Tensor]
"""Windows {key: (B, h, ...)} -> chunks (B, H, A), raw units."""
RECENT = 100
"""Episodes that the means of success and return are taken over."""
_APART = 1 << 30  # episodes that are learned from have seeds from here on, beyond those that anybody evaluates with
_EACH = 1 << 20  # seeds between the first ones of two runs; all stay below 2^31, which old environments ask for


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
            seed: of the run; its episodes have seeds of their own, apart from those of evaluations and of other runs.
            patience: see `Patience`; None lets every episode run to its own end.
        """
        self.world, self._execution = world, Execution(world, history, execute)
        self.steps = 0
        self._first = _APART + seed * _EACH % _APART
        self._episodes = 0
        # return, success and control steps of the episode in each slot; -1 where success is not told
        self._running = np.zeros((3, world.slots))
        self.patience = Patience(patience)
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._begin(range(world.slots))

    def step(self, decide: Decide) -> dict[str, Any]:
        """Execute one chunk in every slot, and return it as rows.

        Returns:
            As `Execution.step`, and "ended" (B,), also by a time limit or by patience.
        """
        rows = self._execution.step(decide(self.seen))
        running, steps, terminated = self._running, rows["steps"].numpy(), rows["terminated"].numpy()
        self.steps += sum(steps.tolist())
        running[0] += rows["reward"].numpy()
        np.fmax(running[1], rows["success"].numpy(), out=running[1])  # of NaN and a number the number
        running[2] += steps
        self.patience.learn(running[2, terminated & (running[1] > 0)])
        ended = terminated | rows["truncated"].numpy() | (running[2] >= self.patience.limit)
        over = np.flatnonzero(ended).tolist()
        self._recent.extend(running[:2, slot].tolist() for slot in over)  # type: ignore[misc]
        self._begin(over)
        return rows | {"ended": torch.from_numpy(ended)}

    @property
    def seen(self) -> Windows:
        """{key: (B, h, ...)} what a policy sees now."""
        return self._execution.seen

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
        return {f"seen.{key}": value for key, value in self.seen.items()} | {
            "recent": recent,
            "running": torch.from_numpy(self._running.copy()),
            "patience": self.patience.state(),
            "counts": torch.tensor([self.steps, self._episodes, len(self._recent)]),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        frames = {key.removeprefix("seen."): value for key, value in state.items() if key.startswith("seen.")}
        self._execution.seen = Windows(frames)
        self._running = state["running"].numpy().copy()
        self.patience.load_state(state["patience"])
        self.steps, self._episodes, recent = (int(value) for value in state["counts"])
        self._recent = deque((tuple(row) for row in state["recent"][:recent].tolist()), maxlen=RECENT)

    def _begin(self, slots: Sequence[int]) -> None:
        """Begin a new episode in some slots."""
        if not slots:
            return
        self._execution.begin({slot: self._first + self._episodes + n for n, slot in enumerate(slots)})
        self._episodes += len(slots)
        self._running[:, slots] = np.array([[0.0], [-1.0], [0.0]])
