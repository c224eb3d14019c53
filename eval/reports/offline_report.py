"""The report of a run under the protocol of offline reinforcement learning: three numbers, and more of the first."""

from __future__ import annotations

from pathlib import Path

from ..results.result import Result
from ..results.scores import Interval
from ..results.smoothness import JERK, unit
from ..rollouts.offline import OfflineResult, title
from .page import Block, Bullets, Gauge, Heading, Paragraph, Table, Words
from .provenance import SMOOTHNESS
from .report import write_report


def write_offline_report(folder: str | Path, found: OfflineResult, run: str | Path) -> Path:
    """Write `eval.json` with all numbers, `report.md`, `report.html` and the pictures into a folder.

    Returns:
        Path of `report.html`.
    """
    page = write_report(folder, found.last, run, headline=three_numbers(found))
    found.save(folder)
    return page


def three_numbers(found: OfflineResult) -> list[Block]:
    """Return what comes first on the page: the three numbers, and how they were chosen."""
    results = found.numbers.values()
    columns: dict[str, list[Interval | None]] = {
        "success": [result.success_rate for result in results],
        "score": [result.normalized_score for result in results],
        "return": [None if result.return_is_success else result.mean_return for result in results],
        f"{JERK} ({unit(found.last.rate_hz)})": [result.jerk for result in results],
    }
    shown = {name: figures for name, figures in columns.items() if any(figures)}
    rates = "success" in shown
    rows: list[list[Words]] = []
    for index, (name, result) in enumerate(found.numbers.items()):
        cells = [str(figures[index] or "–") for figures in shown.values()]
        rows.append([title(name, result), str(found.updates[name]), *cells, *_gauge(result, rates)])
    blank: list[Words] = ["–"] * (1 + len(shown))
    rows += [[title(name, None), *blank, *([""] if rates else [])] for name in found.missing]
    count = len(found.last.episodes)
    what = f"Means with 95 % intervals over {count} episodes" if count > 1 else "One episode each, without an interval"
    score = "; score is D4RL-normalized" if "score" in shown else ""
    return [
        Heading("Three numbers of one run"),
        Table(["number", "updates", *shown, *(["0 to 1"] if rates else [])], rows),
        Paragraph(f"{what}{score}. {SMOOTHNESS}"),
        Bullets([*filter(None, [found.choice]), *found.remarks, f"seed of the training: {found.settings.get('seed')}"]),
        Paragraph("The rest of this page is about the single sample of the last checkpoint."),
    ]


def _gauge(result: Result, rates: bool) -> list[Words]:
    return ([Gauge(result.success_rate)] if result.success_rate else [""]) if rates else []
