"""Where a run's numbers go: metrics.jsonl and TensorBoard always, wandb when asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import LaminarError


class Logs:
    """Appends one row of numbers at a time; a resumed run first drops the rows it is about to repeat."""

    def __init__(self, run: Path, config: dict[str, Any], step: int, wandb: bool) -> None:
        """Open the logs of a run that continues after `step` updates.

        Raises:
            LaminarError: wandb was asked for and is not installed.
        """
        from torch.utils.tensorboard.writer import SummaryWriter

        self._path = run / "metrics.jsonl"
        rows = read_rows(self._path)
        kept = [row for row in rows if row["step"] <= step]
        self._path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
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
    """Rows of a metrics.jsonl; a last line cut by a kill is dropped."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def _start_wandb(run: Path, config: dict[str, Any]) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise LaminarError("wandb=true needs the extra: pip install 'laminar[wandb]'") from error
    return wandb.init(project="laminar", dir=str(run), config=config, resume="allow", id=run.name)
