"""What an iteration has seen: executed chunks in fixed tensors, gone through in random order, epoch by epoch.

The tensors stay where they are, so that a captured update reads what the next iteration brings.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ....errors import LaminarError

Rows = Mapping[str, Tensor]


class Rollout:
    """The rows of one iteration, and the order in which its updates take them.

    A row is a chunk: cond (h, D), advantage and target (), and one of

        chain (K' + 1, H, A) and old (K',)     each tuned step is learned from by itself: x, next, step, old of it
        chain (K' + 1, H, A) and old ()        the chain as a whole
        action (H, A)                          what was executed alone

    Attributes:
        reads_disk: False; all rows are in memory.
        each: entries of a row, which are learned from by themselves: K' where each step is, else 1.
        batch_size: entries in an update.
    """

    reads_disk = False

    def __init__(self, example: Rows, rows: int, epochs: int, minibatches: int) -> None:
        """Allocate room.

        Args:
            example: any rows, which tell names, shapes, types and the device.
            rows: in an iteration.
            epochs: passes over an iteration.
            minibatches: updates of a pass; entries that are left over are left out of it.

        Raises:
            LaminarError: fewer entries than updates.
        """
        self._rows = {name: value.new_zeros(rows, *value.shape[1:]) for name, value in example.items()}
        old = example.get("old")
        self._by_step = old is not None and old.ndim == 2
        self.each = old.shape[1] if old is not None and self._by_step else 1
        self.epochs, self.minibatches, self.batch_size = epochs, minibatches, rows * self.each // minibatches
        if not self.batch_size:
            raise LaminarError(
                f"method.minibatches={minibatches} divide the {rows * self.each} entries of an iteration, which are "
                "fewer; give more method.chunks or env.slots, or fewer minibatches"
            )
        device = next(iter(example.values())).device
        self._order = torch.zeros(epochs * minibatches, self.batch_size, dtype=torch.long, device=device)

    def fill(self, rows: Rows, generator: torch.Generator) -> None:
        """Take the rows of the next iteration, (N, ...) each, and draw their order, a permutation for each epoch."""
        for name, value in self._rows.items():
            value.copy_(rows[name])
        count, device = len(self._rows["cond"]) * self.each, self._order.device
        used = self.minibatches * self.batch_size
        orders = [torch.randperm(count, generator=generator, device=device)[:used] for _ in range(self.epochs)]
        self._order.copy_(torch.cat(orders).view_as(self._order))

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return (batch_size,) random entries; for an update outside of the order."""
        count = len(self._rows["cond"]) * self.each
        return torch.randint(count, (batch_size,), generator=generator, device=self._order.device)

    def turn(self, cursor: Tensor) -> Tensor:
        """Return the entries (B,) whose turn it is at update `cursor` () of the iteration."""
        return self._order.index_select(0, cursor.long().view(1)).view(-1)

    def gather(self, index: Tensor) -> dict[str, Tensor]:
        """Return the entries with the given indices (B,)."""
        row, step = index // self.each, index % self.each
        whole = {name: value for name, value in self._rows.items() if not (self._by_step and name in ("chain", "old"))}
        batch = {name: value.index_select(0, row) for name, value in whole.items()}
        if not self._by_step:
            return batch
        states = self._rows["chain"].flatten(0, 1)  # (N (K' + 1), H, A)
        at = index + row  # of one more state than steps in each row
        x, following = states.index_select(0, at), states.index_select(0, at + 1)
        old = self._rows["old"].flatten().index_select(0, index)
        return batch | {"x": x, "next": following, "step": step, "old": old}

    def __getitem__(self, name: str) -> Tensor:
        """Return one entry of all rows, (N, ...)."""
        return self._rows[name]

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs."""
        return {**self._rows, "order": self._order}

    def load_state(self, state: Rows) -> None:
        """Go on from what `state` returned."""
        for name, value in self._rows.items():
            value.copy_(state[name])
        self._order.copy_(state["order"])
