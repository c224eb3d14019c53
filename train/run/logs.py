"""Where a run's numbers go: metrics.jsonl and TensorBoard always, wandb when asked."""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import LaminarError
from ...eval.results.run_record import read_rows
from ...policies.storage import write_text
from ..update.group import Group
from .clock import Clock


class Means:
    """Mean of each metric since the last row, summed on the device, which nothing waits for until it is read.

    A metric is () or, of several seeds, (S,). Updates may differ in what they report, as those of a delayed actor do:
    each metric is averaged over the updates that have it.
    """

    def __init__(self) -> None:
        self._totals: dict[tuple[str, ...], Tensor] = {}  # names of M metrics -> (M, S)
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._everything: Tensor | float = 0.0  # (S,) sum over all metrics: not finite from the first that is not
        self._finite: Tensor | int = 0  # (S,) updates before that
        self.count = 0

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add the scalars of one update."""
        names = tuple(metrics)
        values = torch.stack(list(metrics.values())).view(len(names), -1)  # (M, S)
        self._totals[names] = self._totals[names] + values if names in self._totals else values
        self._everything = values.sum(dim=0) + self._everything
        self._finite = self._everything.isfinite() + self._finite
        self._counts[names] += 1
        self.count += 1

    def read(self, group: Group) -> list[dict[str, float]]:
        """Return the means over updates and processes, a row for each seed; none before the first update."""
        if not self.count:
            return []
        sums: dict[str, Tensor | float] = {}
        counts: Counter[str] = Counter()
        for names, totals in self._totals.items():
            for name, total in zip(names, totals, strict=True):
                sums[name] = total + sums.get(name, 0.0)
                counts[name] += self._counts[names]
        values = torch.stack([torch.as_tensor(total) / counts[name] for name, total in sums.items()])  # (M, S)
        group.average(values)
        return [dict(zip(sums, row, strict=True)) for row in values.T.tolist()]

    def first_bad(self, seed: int) -> int:
        """Index, from 0, of the first update that gave a seed (by position) a number that is not finite."""
        return int(torch.as_tensor(self._finite)[seed])


class Logs:
    """Appends one row of numbers at a time; a resumed run first drops the rows it is about to repeat.

    Attributes:
        clock: what the run has cost so far.
    """

    def __init__(self, run: Path, config: dict[str, Any], step: int, wandb: bool) -> None:
        """Open the logs of a run that continues after `step` updates."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._path = run / "metrics.jsonl"
        kept = [row for row in read_rows(self._path) if row["step"] <= step]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        self.clock = Clock(kept)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
        self._wandb = _start_wandb(run, config) if wandb else None

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Append the numbers of one step and flush, so that a kill loses nothing."""
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")
        self._file.flush()
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        """Flush and close everything."""
        self._file.close()
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def check_wandb() -> None:
    """Raise before the run starts when Weights & Biases is asked for and not installed."""
    if find_spec("wandb") is None:
        raise LaminarError("wandb=true needs the extra: pip install 'laminar[wandb]'")


def _start_wandb(run: Path, config: dict[str, Any]) -> Any:
    import wandb  # pyright: ignore[reportMissingImports]  # an extra

    return wandb.init(project="laminar", dir=str(run), config=config, resume="allow", id=run.name)
