"""How often, and where, observations lie outside of what a policy was trained on.

Observations are kept as they come and compared a block at a time, where they lie: nobody waits for a device, and a step
costs one small copy a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.variation import resolution

BLOCK = 32  # steps that are compared at once
ROUNDING = 1e-5  # share of a range by which a simulator may differ from itself elsewhere
SHOWN = 10  # dimensions in a record


@dataclass(frozen=True)
class Dimension:
    """One dimension of an observation that was outside.

    Attributes:
        key: of the observation.
        index: flat index.
        count: observations in which it was outside.
        furthest: largest distance from the range, raw units.
        low: lowest value of the training data.
        high: highest value of the training data.
    """

    key: str
    index: int
    count: int
    furthest: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return for example ``'state' 2 (up to 0.05 outside of 1.56897 to 1.56904)``."""
        return f"'{self.key}' {self.index} (up to {self.furthest:.3g} outside of {self.low:.6g} to {self.high:.6g})"


@dataclass(frozen=True)
class Excursions:
    """What was outside, of all that was seen.

    Attributes:
        observations: number of observations, one a robot and step.
        outside: those of them with any dimension outside.
        dimensions: those that were outside, the most frequent first.
    """

    observations: int
    outside: int
    dimensions: tuple[Dimension, ...] = ()

    @property
    def share(self) -> float:
        """Share of observations with any dimension outside."""
        return self.outside / self.observations if self.observations else 0.0

    def __str__(self) -> str:
        """Return one line."""
        if not self.outside:
            return f"all of {self.observations} observations within the range of the training data"
        worst = ", ".join(f"{one.count / self.observations:.2%} in {one}" for one in self.dimensions[:3])
        left = len(self.dimensions) - 3
        more = f", and {left} more dimension{'s' * (left > 1)}" if left > 0 else ""
        what = f"{self.share:.2%} of {self.observations} observations outside the range of the training data"
        return f"{what}: {worst}{more}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; "furthest_in_ranges" is null where the data have no range."""
        return {
            "observations": self.observations,
            "outside": self.outside,
            "share": self.share,
            "dimensions_outside": len(self.dimensions),
            "worst": [self._row(one) for one in self.dimensions[:SHOWN]],
        }

    def _row(self, one: Dimension) -> dict[str, Any]:
        span = one.high - one.low
        return {
            "key": one.key,
            "dimension": one.index,
            "count": one.count,
            "share": one.count / self.observations,
            "furthest": one.furthest,
            "furthest_in_ranges": one.furthest / span if span > 0 else None,
            "low": one.low,
            "high": one.high,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Excursions:
        """Rebuild what `to_json` returned; of the dimensions only those that it lists."""
        names = ("key", "dimension", "count", "furthest", "low", "high")
        rows = tuple(Dimension(*(row[name] for name in names)) for row in stored["worst"])
        return cls(stored["observations"], stored["outside"], rows)

    @classmethod
    def stored_in(cls, record: Mapping[str, Any]) -> Excursions | None:
        """Return what lies in an evaluation's record; None in one of an earlier version."""
        stored = record.get("out_of_range")
        return None if stored is None else cls.from_json(stored)

    @staticmethod
    def together(parts: Sequence[Excursions | None]) -> Excursions | None:
        """Join what several actors saw; None if none of them knows a range."""
        known = [part for part in parts if part is not None]
        if not known:
            return None
        found: dict[tuple[str, int], Dimension] = {}
        for one in (one for part in known for one in part.dimensions):
            before = found.get((one.key, one.index))
            count, furthest = (before.count, before.furthest) if before else (0, 0.0)
            joined = (one.count + count, max(one.furthest, furthest))
            found[one.key, one.index] = Dimension(one.key, one.index, *joined, one.low, one.high)
        observations, outside = (sum(getattr(p, name) for p in known) for name in ("observations", "outside"))
        return Excursions(observations, outside, _sorted(found.values()))


class OutOfRange:
    """Counts the observations of an actor that lie outside the range of the training data."""

    def __init__(self, ranges: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Count from now on.

        Args:
            ranges: key -> lowest and highest value of the training data, in the feature's shape; what has none, such as
                a picture, does not count.
        """
        self._edges = {key: _Edges(low, high) for key, (low, high) in ranges.items()}
        self._slots: Tensor | None = None  # (B,) who counts; None is all
        self.reset()

    def reset(self) -> None:
        """Forget all that was counted."""
        self._block: list[tuple[dict[str, Tensor], Tensor | None]] = []
        self._observations: int | Tensor = 0
        self._outside: int | Tensor = 0
        for edges in self._edges.values():
            edges.reset()

    def only(self, slots: NDArray[np.bool_] | None) -> None:
        """Count only the observations of some slots (B,) from now on; None counts all."""
        self._slots = None if slots is None else torch.from_numpy(slots)

    def add(self, observation: Mapping[str, Tensor]) -> None:
        """Count one observation {key: (B, ...)}, whose memory may be written to afterwards."""
        if not self._edges:
            return
        seen = {key: observation[key].clone() for key in self._edges}
        self._block.append((seen, self._slots))
        if len(self._block) == BLOCK:
            self._compare()

    def found(self) -> Excursions | None:
        """Return what was counted since the last reset, read back to the host; None where no range is known."""
        if not self._edges:
            return None
        self._compare()
        dimensions = [one for key, edges in self._edges.items() for one in edges.found(key)]
        return Excursions(int(self._observations), int(self._outside), _sorted(dimensions))

    @torch.no_grad()
    def _compare(self) -> None:
        """Count what waits; observations of as many robots at once."""
        block, self._block = self._block, []
        while block:
            slots = len(next(iter(block[0][0].values())))
            alike = [row for row in block if len(next(iter(row[0].values()))) == slots]
            block = [row for row in block if len(next(iter(row[0].values()))) != slots]
            self._count([seen for seen, _ in alike], [counted for _, counted in alike], slots)

    def _count(self, seen: list[dict[str, Tensor]], counted: list[Tensor | None], slots: int) -> None:
        masks: Tensor | None = None
        if any(mask is not None for mask in counted):
            everyone = torch.ones(slots, dtype=torch.bool)
            masks = torch.cat([everyone if mask is None else mask for mask in counted])  # (N,)
        outside: Tensor | None = None  # (N,)
        for key, edges in self._edges.items():
            values = torch.cat([one[key] for one in seen])  # (N, ...), N observations
            here = None if masks is None else masks.to(values.device)
            found = edges.count(values.flatten(1), here)
            outside = found if outside is None else outside | found
        self._observations = self._observations + (slots * len(seen) if masks is None else int(masks.sum()))
        assert outside is not None  # there is at least one key
        self._outside = self._outside + outside.sum()


class _Edges:
    """The range of one key, and what was seen outside of it."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low.flatten(), high.flatten()
        kind = "float64" if low.dtype == torch.float64 else "float32"
        edges = (self.low.double().cpu().numpy(), self.high.double().cpu().numpy())
        slack = resolution(*edges, kind) + ROUNDING * (edges[1] - edges[0])
        self.slack = torch.as_tensor(slack, dtype=low.dtype)
        self.reset()

    def reset(self) -> None:
        self.counts: Tensor | None = None  # (F,)
        self.furthest: Tensor | None = None  # (F,)

    def count(self, values: Tensor, counted: Tensor | None) -> Tensor:
        """Count values (N, F); return (N,) which observations are outside."""
        if self.low.device != values.device or self.slack.device != values.device:
            self.low, self.high, self.slack = (one.to(values.device) for one in (self.low, self.high, self.slack))
        beyond = torch.maximum(self.low - values, values - self.high)
        outside = beyond > self.slack
        if counted is not None:
            outside = outside & counted[:, None]
        counts = outside.sum(dim=0)
        furthest = torch.where(outside, beyond, 0.0).amax(dim=0)
        self.counts = counts if self.counts is None else self.counts + counts
        self.furthest = furthest if self.furthest is None else torch.maximum(self.furthest, furthest)
        return outside.any(dim=1)

    def found(self, key: str) -> list[Dimension]:
        if self.counts is None or self.furthest is None:
            return []
        rows = zip(*(one.tolist() for one in (self.counts, self.furthest, self.low, self.high)), strict=True)
        return [Dimension(key, index, *row) for index, row in enumerate(rows) if row[0]]


def _sorted(dimensions: Any) -> tuple[Dimension, ...]:
    return tuple(sorted(dimensions, key=lambda one: (-one.count, one.key, one.index)))
