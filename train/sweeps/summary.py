"""The table of a sweep's runs: how each ended, and what it last wrote down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..run.checkpoint import read_best
from .job import Ended, Job
from .process import STOPPED
from .state import ended_early, is_trained, newest, seeds_of


def summary(out: Path, jobs: Sequence[Job], ended: Mapping[str, Ended]) -> str:
    """Return a table in Markdown, a line a run, in the order of the sweep.

    Args:
        out: folder of the sweep.
        jobs: its runs.
        ended: how those of this time ended, by name.
    """
    lines = [f"# Runs in {out}", "", "| run | state | updates | loss | best |", "|---|---|---|---|---|"]
    for job in jobs:
        folder = Path(job.folder)
        row = newest(folder)
        loss = f"{row['loss']:.4g}" if "loss" in row else ""
        cells = (job.name, _state(folder, ended.get(job.name)), f"{row.get('step', 0):,}", loss, _best(folder))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _state(folder: Path, ended: Ended | None) -> str:
    if ended is not None and ended.code:
        return "stopped" if ended.code == STOPPED else f"failed: {ended.told.replace('|', '/')}"
    early = ended_early(folder)
    return f"ended early by {early}" if early else "finished" if is_trained(folder) else "waits"


def _best(folder: Path) -> str:
    for run in seeds_of(folder)[:1]:
        best = read_best(run)
        if best is not None:
            return f"{best.metric.removeprefix('validation/')} {best.value:.4g} of update {best.step:,}"
    return ""
