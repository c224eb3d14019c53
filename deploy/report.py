"""The page of a run on a robot: what came of it, how steady it was, and every hold with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..eval.reports.page import (
    RATE,
    Block,
    Code,
    Facts,
    Heading,
    Mark,
    Page,
    Paragraph,
    Picture,
    Table,
    Video,
    Words,
    figures,
)
from ..eval.reports.written import write_page
from ..eval.results.scores import Interval

_SHOWN = 60  # changes of state on the page; deploy.json has all


def write_report(found: Mapping[str, Any], folder: Path) -> Path:
    """Write report.md, report.html and the picture of the times into a folder; return the HTML page's path.

    Args:
        found: what `deploy.json` has.
        folder: where they go; a film there, `video.mp4`, is on the page.
    """
    return write_page(folder, Page(f"{found['policy']} on {found['robot']}", list(_blocks(found, folder))))


def _blocks(found: Mapping[str, Any], folder: Path) -> Iterator[Block]:
    if found["success_rate"] is not None:
        low, high = found["success_interval"]
        yield figures({"success rate": (Interval(found["success_rate"], low, high), RATE)})
    periods = found["periods"]
    yield Facts(
        {
            "control periods": f"{periods['periods']}, {100 * periods['missed']:.2f} % of them over before they began",
            "begun late by": _spread("late_ms_p50", "late_ms_p99", periods),
            "begun late by at most": f"{periods['late_ms_max']:.1f} ms",
            "from sight to command": _spread("p50", "p99", found["latency_ms"]) + ", inference apart",
            "inference of a chunk": _spread("p50", "p99", found["inference_ms"]),
            "commands": f"{found['commands']} sent, {found['dropped']} dropped",
            "periods without an action of their own": str(found["actions"]["starved"]),
            "chunks are merged by": Code(found["merge"]),
            "recording": Code(found["recording"]) if found["recording"] else "none",
        }
    )
    if found["commands"]:
        yield Picture(
            "Times", _histograms(found["histograms_ms"], folder / "times.png"), "Milliseconds, both axes log."
        )
    if (folder / "video.mp4").exists():
        yield Video("Film", folder / "video.mp4")
    yield Heading("Episodes")
    said = any(one["told"] is not None for one in found["episodes"])
    rows: list[list[Words]] = [
        [
            *(str(number), str(one["seed"]), Mark(one["success"]), f"{one['seconds']:.1f}", one["why"]),
            *([one["told"]] if said else []),
        ]
        for number, one in enumerate(found["episodes"])
    ]
    yield Table(["episode", "start", "success", "seconds", "ended by", *(["told"] if said else [])], rows)
    yield Heading("Holds")
    if not found["holds"]:
        yield Paragraph("None.")
    else:
        yield Table(["reason", "seconds"], [[one["reason"], f"{one['seconds']:.2f}"] for one in found["holds"]])
    yield Heading("States")
    changes = found["transitions"]
    yield Table(["change"], [[one] for one in changes[:_SHOWN]])
    if len(changes) > _SHOWN:
        yield Paragraph(f"{len(changes) - _SHOWN} more are in deploy.json.")


def _spread(middle: str, high: str, times: Mapping[str, float]) -> str:
    if middle not in times:
        return "–"
    return f"{times[middle]:.1f} ms (median), {times[high]:.1f} ms (p99)"


def _histograms(times: Mapping[str, Any], path: Path) -> Path:
    counts: Mapping[str, Any] = times["counts"]
    figure = Figure(figsize=(3.2 * len(counts), 2.6), layout="constrained")
    for panel, (name, found) in zip(figure.subplots(1, len(counts), squeeze=False)[0], counts.items(), strict=True):
        panel.stairs(found, times["edges"], fill=True)
        panel.set(title=name, xlabel="ms", xscale="log", yscale="log")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
