"""What came of a policy on a robot, as `deploy.json` says it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..eval.results.scores import wilson
from ..overwriting import Written
from .controller import Controller
from .episodes import Episode
from .pace import Pace
from .pilot import PolicyPilot
from .supervisor import State, Supervisor

WRITTEN = Written("deploy.json", ("missed_deadlines",), ("recording.mcap", "report.md", "report.html", "times.png"))

_EDGES = np.geomspace(0.01, 10_000.0, 121).round(5)  # milliseconds


def outcome(
    episodes: Sequence[Episode], controller: Controller, pilot: PolicyPilot, pace: Pace, recording: str | None
) -> dict[str, Any]:
    """Return plain values: success with its interval, timing, what was dropped, and every hold with its reason.

    Args:
        episodes: that were run.
        controller: that ran them.
        pilot: that decided.
        pace: of its control periods.
        recording: file of everything seen and commanded; None where none was made.
    """
    told = [episode.success for episode in episodes if episode.success is not None]
    rate = wilson(sum(told), len(told)) if told else None
    counts, planner, scheduler = controller.counts, pilot.planner, pilot.scheduler
    return {
        "success_rate": None if rate is None else rate.mean,
        "success_interval": None if rate is None else [rate.low, rate.high],
        "episodes": [asdict(episode) for episode in episodes],
        "missed_deadlines": pace.told()["missed"],
        "periods": pace.told(),
        "latency_ms": _quantiles(counts.latencies),
        "inference_ms": _quantiles(planner.latencies),
        "commands": counts.commands,
        "limited": controller.cut,
        "dropped": counts.dropped,
        "actions": {"over": scheduler.over, "late": scheduler.late, "starved": scheduler.starved},
        "histograms_ms": _histograms(
            {"begun late": pace.late, "sight to command": counts.latencies, "inference": planner.latencies}
        ),
        "holds": holds(controller.supervisor),
        "transitions": [f"{one.before.value} -> {one.after.value}: {one.reason}" for one in controller.supervisor.log],
        "recording": recording,
    }


def holds(supervisor: Supervisor) -> list[dict[str, Any]]:
    """Return reason and seconds of every hold that has ended."""
    log = supervisor.log
    found: list[dict[str, Any]] = []
    begun: float | None = None
    reason = ""
    for change in log:
        if change.after is State.HOLD:
            begun = change.time if begun is None else begun
            reason = f"{reason}; {change.reason}" if reason else change.reason
        elif begun is not None:
            found.append({"reason": reason, "seconds": change.time - begun})
            begun, reason = None, ""
    return found


def _histograms(times: dict[str, Sequence[float]]) -> dict[str, Any]:
    """Return counts of times (seconds) between edges (milliseconds); what is below or above all counts at the end."""
    counts = {
        name: np.histogram(np.clip(1e3 * np.array(seconds), _EDGES[0], _EDGES[-1]), _EDGES)[0].tolist()
        for name, seconds in times.items()
    }
    return {"edges": _EDGES.tolist(), "counts": counts}


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return quantiles in milliseconds; nothing of nothing."""
    return {f"p{share}": float(np.quantile(1e3 * np.array(seconds), share / 100)) for share in (50, 99) if seconds}


def summary(found: dict[str, Any]) -> str:
    """Return one line for the terminal."""
    rate, count = found["success_rate"], len(found["episodes"])
    low, high = found["success_interval"] or (0.0, 0.0)
    success = "" if rate is None else f"success {rate:.2f} [{low:.2f}, {high:.2f}] of "
    held, missed = sum(hold["seconds"] for hold in found["holds"]), 100 * found["missed_deadlines"]
    latency = f", {found['latency_ms']['p99']:.1f} ms from sight to command (p99)" if found["latency_ms"] else ""
    return (
        f"{success}{count} episodes; {found['commands']} commands ({found['limited']} cut by limits), "
        f"{found['dropped']} dropped, {missed:.1f} % of the "
        f"deadlines missed{latency}, {len(found['holds'])} holds of {held:.1f} s"
    )


def write(found: dict[str, Any], folder: Path) -> None:
    """Write `deploy.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WRITTEN.record).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
