"""Where a run's numbers go: metrics.jsonl and TensorBoard always, wandb when asked."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import LaminarError
from ..policies.storage import write_text
from .distributed import Processes


class Means:
    """Mean of each metric since the last row, summed on the device, which nothing waits for until it is read."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self.count = 0

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add the scalars of one update."""
        for name, value in metrics.items():
            self._totals[name] = self._totals[name] + value if self.count else value
        self.count += 1

    def read(self, processes: Processes) -> dict[str, float]:
        """Return the means over updates and processes: one wait for the device."""
        if not self.count:
            return {}
        values = torch.stack(list(self._totals.values())) / self.count
        processes.average(values)
        return dict(zip(self._totals, values.tolist(), strict=True))


class Logs:
    """Appends one row of numbers at a time; a resumed run first drops the rows it is about to repeat."""

    def __init__(self, run: Path, config: dict[str, Any], step: int, wandb: bool) -> None:
        """Open the logs of a run that continues after `step` updates."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._path = run / "metrics.jsonl"
        kept = [row for row in read_rows(self._path) if row["step"] <= step]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
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


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics.jsonl; a last line cut by a kill is dropped.

    Raises:
        LaminarError: another line is not JSON.
    """
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise LaminarError(f"{path}: line {number} is not JSON ({error}); repair or delete it") from error
    return rows


def check_wandb() -> None:
    """Raise before the run starts when Weights & Biases is asked for and not installed."""
    if find_spec("wandb") is None:
        raise LaminarError("wandb=true needs the extra: pip install 'laminar[wandb]'")


def _start_wandb(run: Path, config: dict[str, Any]) -> Any:
    import wandb  # pyright: ignore[reportMissingImports]  # an extra

    return wandb.init(project="laminar", dir=str(run), config=config, resume="allow", id=run.name)
