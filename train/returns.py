"""Returns over several chunks: rows of executed chunks become rows of n chunks, as n-step Q-learning takes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Rows = dict[str, Tensor]


class NStep:
    """Adds the rewards of up to n chunks to each row, discounted, and lets it lead to where the last of them led.

    A row has "reward" (B,), "discount" (B,), 0 where the task terminated, and its "next_…" entries; all else is of its
    beginning. A row is given out when n chunks are known or its episode is over, terminated or cut off: a cut episode
    is bootstrapped from its last observation, with the discount of as many chunks as it still had.
    """

    def __init__(self, n: int, slots: int, example: Rows) -> None:
        """Begin with no rows pending; n chunks a row. The example's first row tells names, shapes, types and device."""
        self.n, self.slots, self._example = n, slots, {name: value[:1] for name, value in example.items()}
        self._pending: list[list[Rows]] = [[] for _ in range(slots)]

    def push(self, rows: Mapping[str, Tensor], ended: Tensor) -> Rows | None:
        """Take the row of every slot (slots, ...), and whether its episode ended there; return what is complete."""
        done: list[Rows] = []
        for slot, pending in enumerate(self._pending):
            new = {name: value[slot : slot + 1] for name, value in rows.items()}
            for row in pending:
                row["reward"] = row["reward"] + row["discount"] * new["reward"]
                row["discount"] = row["discount"] * new["discount"]
                row |= {name: value for name, value in new.items() if name.startswith("next_")}
            pending.append(dict(new))
            whole = len(pending) if ended[slot] else len(pending) - self.n + 1
            done += pending[: max(whole, 0)]
            del pending[: max(whole, 0)]
        return {name: torch.cat([row[name] for row in done]) for name in rows} if done else None

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs, (slots * (n - 1), ...) of each entry: zeros where no row is pending."""
        counts = torch.tensor([len(pending) for pending in self._pending])
        rows = [row for pending in self._pending for row in pending]
        free = self.slots * (self.n - 1) - len(rows)
        padding = {
            name: torch.zeros_like(value).expand(free, *value.shape[1:]) for name, value in self._example.items()
        }
        return {name: torch.cat([*(row[name] for row in rows), padding[name]]) for name in padding} | {"counts": counts}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        rows = {name: state[name].to(value.device) for name, value in self._example.items()}
        at = 0
        for slot, count in enumerate(state["counts"].tolist()):
            pieces = range(at, at + count)
            self._pending[slot] = [{name: value[i : i + 1] for name, value in rows.items()} for i in pieces]
            at += count
