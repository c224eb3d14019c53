"""What `laminar bench` tells: tables, bench.json, a page, and a histogram of the times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ...policies.generative import generative
from ...policies.guided import acting_of
from ...policies.storage import write_json
from ..reports.as_markdown import blocks_as_markdown
from ..reports.page import Block, Note, Page, Paragraph, Picture, Table
from ..reports.written import write_page
from ..results.result import versions
from .measure import Array, Candidate, Case, Latencies, Timing

PACKAGES = ("laminar", "torch", "numpy", "onnxruntime")
ENOUGH = 2000  # calls; the p99 of fewer rests on fewer than 20 of them
_DISTURBED = 0.01  # share of interrupted calls from which on p99 is no longer the policy's
_MARKS = (1000.0, 200.0, 50.0, 10.0)  # Hz: torque loops, position loops, arms and planners
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def figures(found: Latencies) -> dict[str, Any]:
    """Return everything that was measured as plain values: the content of `bench.json`."""
    policy, (bandwidth, rate) = found.policy, _rates(found)
    return {
        "process": generative(policy).policy_config.process.name,
        "network": generative(policy).network_config.name,
        "parameters": sum(weight.numel() for weight in policy.parameters()),
        "checkpoint": policy.checkpoint_hash(),
        "history": policy.spec.history,
        "chunk": [policy.spec.chunk, policy.spec.action_dim],
        "acting": None if acting_of(policy).plain else acting_of(policy).to_json(),
        "spec_rate_hz": policy.spec.rate_hz,
        "rate_hz": found.rate_hz,
        "machine": found.machine,
        "versions": versions(PACKAGES),
        "calls": found.calls,
        "rounds": len(found.rows[0][1].rounds),
        "roofline": {
            "formula": "floor = max(weight_bytes / bandwidth, flops / rate)",
            "bytes_per_second": bandwidth,
            "flops_per_second": rate,
            "kernels": {probe.name: _summary(times.wall) for probe, times in found.kernels},
        },
        "left_out": found.left_out,
        "rows": [_row(found, candidate, timing) for candidate, timing in found.rows],
    }


def _rates(found: Latencies) -> tuple[float, float]:
    """Return bytes and FLOPs a second, each of the fastest call of its kernels."""
    reached = [(probe.unit, float(probe.amount / timing.wall.min()) * 1e6) for probe, timing in found.kernels]
    bandwidth, rate = (max(rate for unit, rate in reached if unit == wanted) for wanted in ("bytes", "flops"))
    return bandwidth, rate


def _row(found: Latencies, candidate: Candidate, timing: Timing) -> dict[str, Any]:
    wall = timing.wall
    floor = candidate.work.seconds(*_rates(found)) * 1e6
    period = 1e6 / found.rate_hz if found.rate_hz else None
    p50, p99 = (float(np.quantile(wall, q)) for q in (0.5, 0.99))
    # The floor is about the code, so that waiting for other processes does not count where it can be told apart.
    alone = found.policy.device.type == "cpu" and found.machine["threads"] == 1
    own = float(np.median(timing.cpu)) if alone else p50
    return {
        **asdict(candidate.case),
        "network_calls": candidate.network_calls,
        "wall_us": _summary(wall),
        "cpu_us": _summary(timing.cpu),
        "undisturbed_share": len(timing.undisturbed) / len(wall),
        "undisturbed_us": _summary(timing.undisturbed) if len(timing.undisturbed) else None,
        "round_medians_us": [[round(float(x), 2) for x in pair] for pair in timing.medians],
        "jitter": p99 / p50,
        "rate_hz": 1e6 / p99,
        "calls_per_second": 1e6 / float(wall.mean()),
        "holds_rate": None if period is None else p99 <= period,
        "late_share": None if period is None else float(np.mean(wall > period)),
        "against_eager": _against_eager(found, candidate.case, timing),
        "build_seconds": candidate.build_seconds,
        "first_call_seconds": candidate.first_call_seconds,
        "max_difference": candidate.difference,
        "agrees": candidate.agrees,
        **asdict(candidate.work),
        "floor_us": floor,
        "times_floor": own / floor,
    }


def _summary(values: Array) -> dict[str, float]:
    named = {name: np.quantile(values, q) for name, q in _QUANTILES.items()}
    named |= {"min": values.min(), "mean": values.mean(), "std": values.std()}
    return {name: round(float(value), 2) for name, value in named.items()}


def _against_eager(found: Latencies, case: Case, timing: Timing) -> dict[str, list[float]] | None:
    """Return how many times faster than eager: median, 10 % and 90 % over the rounds' ratios of medians."""
    for candidate, reference in found.rows:
        other = candidate.case
        same = (other.steps, other.batch, other.what) == (case.steps, case.batch, case.what)
        if same and other.runtime == "eager":
            ratios = np.quantile(reference.medians / timing.medians, [0.5, 0.1, 0.9], axis=0)
            return {"wall": ratios[:, 0].tolist(), "cpu": ratios[:, 1].tolist()}
    return None


def summary(stored: dict[str, Any]) -> str:
    """Return the tables, from what `figures` returned, as Markdown that is readable as it is."""
    return "\n".join(blocks_as_markdown(_blocks(stored))).rstrip("\n")


def _blocks(stored: dict[str, Any]) -> list[Block]:
    """Return what the page shows beside its picture."""
    where, roofline, rows = stored["machine"], stored["roofline"], stored["rows"]
    acting = stored["acting"]
    among = f", {acting['candidates']} candidates" if acting else ""
    before, after = where["load_average"]
    kernels = ", ".join(f"{name} (median {times['p50']:.1f} µs)" for name, times in roofline["kernels"].items())
    return [
        Paragraph(
            f"{stored['process']} x {stored['network']}, {stored['parameters']:,} parameters, chunk "
            f"{stored['chunk'][0]} x {stored['chunk'][1]}{among}; {stored['calls']} calls each, in {stored['rounds']} "
            "rounds of rotated order"
        ),
        Paragraph(
            f"{where['cpu']}, {where['cores']} cores, {where['threads']} thread{'s' * (where['threads'] > 1)}, "
            f"torch {where['torch']}{', ' + where['gpu'] if 'gpu' in where else ''}, load average {before} -> {after}"
        ),
        _latency_table(stored),
        Paragraph(
            "Microseconds of wall time a call, CPU time of the process beside it; calm p99 is of the calls alone that "
            "no other process interrupted; Hz is 1 / p99; × eager is the ratio of CPU times within a round, median "
            "[10-90 %]; × floor is the CPU p50 (several threads, or a GPU: p50) / floor; act is a whole decision of "
            "policy.act."
        ),
        _cost_table(rows),
        Paragraph(
            f"floor = max(weights read / {roofline['bytes_per_second'] / 1e9:.1f} GB/s, FLOP / "
            f"{roofline['flops_per_second'] / 1e9:.0f} GFLOP/s): the fastest calls of {kernels}"
        ),
        *(Paragraph(f"left out: {name}: {reason}") for name, reason in stored["left_out"].items()),
        *(Note(remark) for remark in _remarks(stored)),
    ]


def _remarks(stored: dict[str, Any]) -> list[str]:
    rows, remarks = stored["rows"], []
    wrong = [f"{row['runtime']} (steps {_steps(row)}, batch {row['batch']})" for row in rows if not row["agrees"]]
    if wrong:
        remarks.append(f"DIFFERS from eager by more than rounding: {', '.join(wrong)}")
    disturbed = 1 - min(row["undisturbed_share"] for row in rows)
    if disturbed > _DISTURBED:
        remarks.append(
            f"other processes interrupted up to {100 * disturbed:.0f} % of a row's calls: p90, p99 and max tell of the "
            "load on this machine as much as of the policy"
        )
    if stored["calls"] < ENOUGH:
        remarks.append(f"{stored['calls']} calls are few for a p99; give calls={ENOUGH} or more")
    return remarks


def _latency_table(stored: dict[str, Any]) -> Table:
    rate = stored["rate_hz"]
    head = ["runtime", "steps", "batch", *_QUANTILES, "CPU p50", "calm p99", "p99/p50", "Hz", "× eager", "× floor"]
    lines: list[list[str]] = []
    for row in stored["rows"]:
        wall, ratio = row["wall_us"], row["against_eager"]
        cells = [row["runtime"] + (", act" if row["what"] == "act" else ""), _steps(row), str(row["batch"])]
        cells += [f"{wall[name]:.1f}" for name in _QUANTILES]
        calm = row["undisturbed_us"]
        cells += [f"{row['cpu_us']['p50']:.1f}", f"{calm['p99']:.1f}" if calm else "-"]
        cells += [f"{row['jitter']:.2f}", f"{row['rate_hz']:.0f}"]
        cells.append("{:.2f} [{:.2f}, {:.2f}]".format(*ratio["cpu"]) if ratio else "-")
        cells.append(f"{row['times_floor']:.1f}")
        if rate:
            late = f"{100 * row['late_share']:.3g} % late"
            cells.append("yes" if row["holds_rate"] else f"no, {late}")
        lines.append(cells)
    return Table([*head, *([f"holds {rate:g} Hz"] if rate else [])], lines)


def _cost_table(rows: Sequence[dict[str, Any]]) -> Table:
    head = ["runtime", "steps", "batch", "build s", "first call ms", "max difference to eager, normalized"]
    head += ["weights read MB", "MFLOP", "floor µs"]
    lines = [
        [
            *(row["runtime"], _steps(row), str(row["batch"])),
            *(f"{row['build_seconds']:.2f}", f"{row['first_call_seconds'] * 1e3:.2f}", f"{row['max_difference']:.1e}"),
            *(f"{row['weight_bytes'] / 1e6:.2f}", f"{row['flops'] / 1e6:.2f}", f"{row['floor_us']:.1f}"),
        ]
        for row in rows
        if row["what"] == "sample"
    ]
    return Table(head, lines)


def _steps(row: dict[str, Any]) -> str:
    """Return the number of network calls, or a schedule's name with it."""
    calls = str(row["network_calls"])
    return f"{row['steps']} ({calls})" if isinstance(row["steps"], str) else calls


def write_latency_report(folder: str | Path, found: Latencies, path: str) -> Path:
    """Write `bench.json`, `latency.png`, `report.md` and `report.html` into a folder, made if missing.

    Args:
        folder: its other files stay.
        found: from `measure_latency`.
        path: where the policy lies.

    Returns:
        Path of `report.html`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored = {"policy": path, **figures(found)}
    write_json(folder / "bench.json", stored)
    picture = Picture("Histogram of the times", latency_histogram(found, folder / "latency.png"))
    return write_page(folder, Page(f"Latency of {path}", [*_blocks(stored), picture]))


def latency_histogram(found: Latencies, path: Path) -> Path:
    """Draw the times of `sample`: one panel for steps and batch, one series a runtime, with p99 and control periods."""
    panels: dict[str, list[tuple[str, Array]]] = {}
    for candidate, timing in found.rows:
        if candidate.case.what == "sample":
            panels.setdefault(_panel(candidate), []).append((candidate.case.runtime, timing.wall))
    shown = np.concatenate([wall for series in panels.values() for _, wall in series])
    low, high = shown.min() * 0.8, max(shown.max(), 1e6 / (found.rate_hz or 200.0)) * 1.3
    edges = np.geomspace(low, high, 160)
    figure = Figure(figsize=(8, 0.8 + 2.8 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axis, (title, series) in zip(axes, panels.items(), strict=True):
        axis.set_title(title, fontsize=10, loc="left", pad=15)  # above the names of the control periods
        _draw_series(axis, series, edges)
        _draw_periods(axis, found.rate_hz, low, high)
    axes[-1].set_xlabel("wall time of one call")
    policy = found.policy
    made = generative(policy)
    title = f"{made.policy_config.process.name} x {made.network_config.name}, {found.calls} calls each"
    figure.suptitle(f"{title}, {found.machine['cpu']}", fontsize=10)
    figure.savefig(path, dpi=120)
    return path


def _panel(candidate: Candidate) -> str:
    steps, calls = candidate.case.steps, candidate.network_calls
    schedule = f"schedule {steps}, " if isinstance(steps, str) else ""
    return f"{schedule}{calls} network call{'s' * (calls > 1)}, batch {candidate.case.batch}"


def _draw_series(axis: Axes, series: Sequence[tuple[str, Array]], edges: Array) -> None:
    for index, (name, wall) in enumerate(series):
        color, p99 = f"C{index}", float(np.quantile(wall, 0.99))
        label = f"{name}: p50 {duration(float(np.median(wall)))}, p99 {duration(p99)} (dashed)"
        weights = np.full(len(wall), 1 / len(wall))
        axis.hist(wall, edges.tolist(), weights=weights, histtype="stepfilled", color=color, alpha=0.35)
        axis.hist(wall, edges.tolist(), weights=weights, histtype="step", color=color, linewidth=1.2, label=label)
        axis.axvline(p99, color=color, linestyle="--", linewidth=1.2)
    axis.set(xscale="log", yscale="log", xlim=(edges[0], edges[-1]), ylabel="share of calls")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3)
    axis.set_ylim(top=axis.get_ylim()[1] * 10 ** (0.25 + 0.22 * len(series)))  # the legend's place
    axis.legend(fontsize=8, loc="upper right")


def _draw_periods(axis: Axes, rate_hz: float | None, low: float, high: float) -> None:
    for rate in {*_MARKS, rate_hz or _MARKS[0]}:
        if low * 1.05 < 1e6 / rate < high / 1.05:
            wanted = rate == rate_hz
            axis.axvline(1e6 / rate, color="black", linestyle="-" if wanted else ":", linewidth=1.4 if wanted else 1)
            axis.annotate(
                f"{rate:g} Hz",
                (1e6 / rate, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                fontsize=8,
                horizontalalignment="center",
            )


def duration(microseconds: float) -> str:
    """Return for example ``45 µs``, ``1.2 ms`` or ``3 s``."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"
