"""Experience that grows: rows in fixed tensors on the device, the oldest of which make room for new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import LaminarError
from .batches import Batch, check_positive

Rows = Mapping[str, Any]
"""Name -> (N, ...) tensors, or one more level of names, as in a batch of `Transitions`."""


class Replay:
    """A ring of at most `capacity` rows; whatever a row is, it is drawn and gathered like the recorded kinds.

    The tensors and the fill count stay where they are, so that a captured update sees what was added. Nothing waits for
    the device. It may begin with recorded rows: `replay.add(transitions.gather(index))`, then `replay.keep()`.

    Attributes:
        reads_disk: False; all rows are in memory.
        kept: rows at the beginning that no new ones replace.
    """

    reads_disk = False

    def __init__(self, example: Rows, capacity: int, device: str | torch.device = "cpu") -> None:
        """Allocate room.

        Args:
            example: any rows, which tell names, shapes and types.
            capacity: rows.
            device: where they live.

        Raises:
            LaminarError: no room for a single row.
        """
        check_positive(capacity=capacity)
        self.capacity, self.device = capacity, torch.device(device)
        flat = _flatten(example)
        self._rows = {k: torch.zeros(capacity, *v.shape[1:], dtype=v.dtype, device=device) for k, v in flat.items()}
        self._added = 0  # rows ever; the host adds them, so it knows
        self.kept = 0
        self._count = torch.zeros((), dtype=torch.float64, device=device)  # rows that are filled

    def __len__(self) -> int:
        """Rows that are filled."""
        return min(self._added, self.capacity)

    def add(self, rows: Rows) -> None:
        """Append rows, over the oldest where there is no room.

        Raises:
            LaminarError: other names, shapes or types than the example's.
        """
        flat = _flatten(rows)
        self._check(flat)
        count, room = len(next(iter(flat.values()))), self.capacity - self.kept
        fit = min(count, room)  # of more than that the last ones
        place = self.kept + (self._added - self.kept + count - fit + torch.arange(fit)) % room
        place = place.to(self.device)
        for name, value in flat.items():
            self._rows[name].index_copy_(0, place, value[count - fit :].to(self.device))
        self._added += count
        self._count.fill_(len(self))

    def keep(self) -> None:
        """Keep the rows that are filled now for good.

        Raises:
            LaminarError: they leave no room for others.
        """
        if len(self) == self.capacity:
            raise LaminarError(
                f"the replay has room for {self.capacity} rows, and as many recorded ones fill it; make it larger"
            )
        self.kept = len(self)

    def draw(self, batch_size: int, generator: torch.Generator, kept: float = 0.0) -> Tensor:
        """Return (batch_size,) random rows with replacement; the generator lives on the replay's device.

        Args:
            batch_size: rows.
            generator: of the draw.
            kept: share of them that is drawn from the kept rows alone, if there are any; they come first.

        Raises:
            LaminarError: there is none yet.
        """
        if not self._added:
            raise LaminarError("the replay is empty: collect experience, or add recordings, before the first update")
        share = torch.rand(batch_size, dtype=torch.float64, generator=generator, device=self.device)
        first = round(kept * batch_size) if self.kept else 0
        return torch.cat([share[:first] * self.kept, share[first:] * self._count]).long()

    def gather(self, index: Tensor) -> Batch:
        """Return the rows with the given indices (B,), named like the example."""
        return _nest({name: value.index_select(0, index) for name, value in self._rows.items()})

    def state(self) -> dict[str, Tensor]:
        """Return all that an exact resume needs; only filled rows."""
        rows = {name: value[: len(self)] for name, value in self._rows.items()}
        return rows | {"added": torch.tensor(self._added), "kept": torch.tensor(self.kept)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned.

        Raises:
            LaminarError: rows of other names, shapes or types, or more than there is room for.
        """
        rows = {name: value for name, value in state.items() if name not in ("added", "kept")}
        self._check(rows)
        count = len(next(iter(rows.values())))
        if count > self.capacity:
            raise LaminarError(f"the saved replay has {count} rows, and there is room for {self.capacity}")
        for name, value in rows.items():
            self._rows[name][:count].copy_(value)
        self._added, self.kept = int(state["added"]), int(state.get("kept", 0))
        self._count.fill_(len(self))

    def _check(self, flat: Mapping[str, Tensor]) -> None:
        if flat.keys() != self._rows.keys():
            raise LaminarError(f"the replay holds {sorted(self._rows)}, got {sorted(flat)}")
        for name, value in flat.items():
            mine = self._rows[name]
            if (value.shape[1:], value.dtype) != (mine.shape[1:], mine.dtype):
                raise LaminarError(
                    f"'{name}' of the replay has rows {tuple(mine.shape[1:])} of {mine.dtype}, got "
                    f"{tuple(value.shape[1:])} of {value.dtype}"
                )


_DEEPER = "/"


def _flatten(rows: Rows) -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}
    for name, value in rows.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}{_DEEPER}{key}": below for key, below in value.items()}
        else:
            flat[name] = value
    return flat


def _nest(flat: Mapping[str, Tensor]) -> Batch:
    rows: Batch = {}
    for name, value in flat.items():
        first, deeper, rest = name.partition(_DEEPER)
        if deeper:
            rows.setdefault(first, {})[rest] = value
        else:
            rows[name] = value
    return rows
