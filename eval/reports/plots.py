"""The report's pictures, as PNG files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray

from ..replay.run_record import ACTION_ERROR
from ..results.chain_result import ChainResult
from ..results.result import Result
from ..results.scores import Interval

Array = NDArray[Any]
_DIMENSIONS = 6  # action dimensions in one picture, those that vary most


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def training_curve(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Draw all losses, and below them what was evaluated if anything was, against the number of updates.

    Args:
        rows: of metrics.jsonl, each with "step" and some named numbers.
        path: PNG file.
    """
    names = {name for row in rows for name in row}
    losses = sorted(name for name in names if "loss" in name)
    scores = sorted(name for name in names if name.startswith("eval/") or name == ACTION_ERROR)
    figure = Figure(figsize=(7, 3.2 + 2.4 * len(scores)), layout="constrained")
    panels = figure.subplots(1 + len(scores), 1, squeeze=False, sharex=True)[:, 0]
    for name in losses:
        _line(panels[0], rows, name, marker="o" if name.startswith("validation/") else "")
    panels[0].set(ylabel="loss", yscale="log", title="Training")
    panels[0].legend()
    for panel, name in zip(panels[1:], scores, strict=True):
        _line(panel, rows, name, marker="o")
        panel.set(ylabel="held-out action error" if name == ACTION_ERROR else name[5:].replace("_", " "))
    panels[-1].set_xlabel("updates")
    return _save(figure, path)


def _line(panel: Axes, rows: Sequence[Mapping[str, float]], name: str, marker: str = "") -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    panel.plot(*zip(*points, strict=True), label=name, marker=marker, linewidth=1.4)
    panel.grid(alpha=0.3)


def return_distribution(result: Result, path: Path, data: Array | None = None) -> Path:
    """Draw the histogram of returns, split by success where that is known, with the mean and its interval.

    Args:
        result: from `evaluate`.
        path: PNG file.
        data: (E,) returns of the demonstrations; their mean and the best of them become lines.
    """
    returns = np.array(result.returns)
    groups = {"episodes": returns}
    if result.success_rate is not None:
        success = np.array([bool(episode.success) for episode in result.episodes])
        groups = {"success": returns[success], "failure": returns[~success]}
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    panel = figure.subplots()
    colors = {"episodes": "tab:blue", "success": "tab:green", "failure": "tab:red"}
    panel.hist(
        list(groups.values()),
        bins=min(30, max(5, len(returns) // 2)),
        stacked=True,
        color=[colors[name] for name in groups],
        label=[f"{name} ({len(values)})" for name, values in groups.items()],
        alpha=0.75,
    )
    mean = result.mean_return
    if not mean.none:
        panel.axvspan(mean.low, mean.high, color="black", alpha=0.15, label="95 % interval of the mean")
    panel.axvline(mean.mean, color="black", linewidth=1.4, label=f"mean {mean.mean:.4g}")
    if data is not None:
        panel.axvline(data.mean(), color="tab:orange", linestyle="--", label=f"mean of the data {data.mean():.4g}")
        panel.axvline(data.max(), color="tab:purple", linestyle=":", label=f"best of the data {data.max():.4g}")
    panel.set(xlabel="return of an episode (undiscounted sum of rewards)", ylabel="episodes", title=result.env_id)
    panel.legend()
    return _save(figure, path)


def chain_curve(result: ChainResult, path: Path) -> Path:
    """Draw the share of chains with at least 1 to 5 instructions in a row, with 95 % intervals."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    panel = figure.subplots()
    shares = result.in_a_row
    panel.bar(list(shares), [share.mean for share in shares.values()], color="tab:blue", alpha=0.75)
    panel.errorbar(
        list(shares), *_center_and_reach(shares.values()), color="black", linestyle="", capsize=4, label="95 % interval"
    )
    panel.set(xlabel="instructions in a row", ylabel="share of chains", ylim=(0, 1.02))
    panel.set_title(f"{len(result.chains)} chains in {result.simulator}", fontsize=10)
    panel.grid(alpha=0.3, axis="y")
    panel.legend()
    return _save(figure, path)


def task_success(result: ChainResult, path: Path) -> Path:
    """Draw the success rate of every task that was attempted, best first, with 95 % intervals."""
    rates = dict(sorted(result.task_success.items(), key=lambda item: item[1].mean))
    figure = Figure(figsize=(7, 1.2 + 0.22 * len(rates)), layout="constrained")
    panel = figure.subplots()
    labels = [f"{task} ({won}/{total})" for task in rates for won, total in [result.tasks[task]]]
    center, reach = _center_and_reach(rates.values())
    panel.barh(labels, center, color="tab:blue", alpha=0.75)
    panel.errorbar(center, range(len(rates)), xerr=reach, color="black", linestyle="", capsize=3)
    panel.set(xlabel="success rate of an attempted instruction", xlim=(0, 1.02))
    panel.set_title(result.simulator, fontsize=10)
    panel.tick_params(axis="y", labelsize=7)
    panel.grid(alpha=0.3, axis="x")
    return _save(figure, path)


def _center_and_reach(intervals: Iterable[Interval]) -> tuple[Array, Array]:
    """Return the means (N,), and how far the intervals reach below and above them (2, N)."""
    figures = np.array([(figure.mean, figure.low, figure.high) for figure in intervals]).T
    return figures[0], np.abs(figures[1:] - figures[0])


def action_chunks(chunks: Array, rate_hz: float | None, path: Path) -> Path:
    """Draw several chunks sampled for one observation: one panel an action dimension, one line a sample.

    Args:
        chunks: (S, H, A), raw units.
        rate_hz: control rate, None draws against steps.
        path: PNG file.
    """
    samples, horizon, width = chunks.shape
    shown = np.sort(np.argsort(-chunks.std(axis=0).mean(axis=0))[:_DIMENSIONS])
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.2 * columns + 0.6, 2.4 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    times = np.arange(horizon) / (rate_hz or 1.0)
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    for panel, dimension in zip(panels, shown, strict=False):
        if horizon > 1:
            panel.plot(times, chunks[:, :, dimension].T, color="tab:blue", alpha=0.35, linewidth=1)
            panel.set(xlabel="time (s)" if rate_hz else "step", ylabel=f"action {dimension}")
        else:
            panel.hist(chunks[:, 0, dimension], bins=20, color="tab:blue", alpha=0.75)
            panel.set(xlabel=f"action {dimension}", ylabel="samples")
        panel.grid(alpha=0.3)
    some = f", {len(shown)} of {width} dimensions" if len(shown) < width else ""
    what = "chunks" if horizon > 1 else "actions"
    figure.suptitle(f"{samples} {what} sampled for one observation{some}", fontsize=10)
    return _save(figure, path)


def maze_routes(layout: Sequence[Sequence[Any]], cell: float, paths: Sequence[Array], goal: Array, path: Path) -> Path:
    """Draw driven paths over the walls of a maze.

    Args:
        layout: rows of cells, 1 is a wall; the middle of the maze is the origin.
        cell: width of a cell in meters.
        paths: (T, 2) positions x, y in meters, one array a rollout.
        goal: (2,) in meters.
        path: PNG file.
    """
    rows, columns = len(layout), len(layout[0])
    figure = Figure(figsize=(7, 7 * rows / columns + 0.6), layout="constrained")
    panel = figure.subplots()
    for row, line in enumerate(layout):
        for column, kind in enumerate(line):
            if kind == 1:
                corner = ((column - columns / 2) * cell, (rows / 2 - row - 1) * cell)
                panel.add_patch(Rectangle(corner, cell, cell, facecolor="0.75", edgecolor="0.6"))
    for number, driven in enumerate(paths):
        label = f"{len(paths)} rollouts, one start, different noise" if number == 0 else None
        panel.plot(driven[:, 0], driven[:, 1], color="tab:blue", alpha=0.6, linewidth=1.3, label=label)
    panel.plot(*paths[0][0], "o", color="tab:green", markersize=9, label="start", zorder=3)
    panel.add_patch(Circle((float(goal[0]), float(goal[1])), 0.45, color="tab:red", alpha=0.4, label="goal region"))
    panel.set(xlabel="x (m)", ylabel="y (m)", aspect="equal", title="Routes of one policy")
    panel.set(xlim=(-columns * cell / 2, columns * cell / 2), ylim=(-rows * cell / 2, rows * cell / 2))
    panel.legend(loc="lower center", ncols=3, framealpha=1.0)
    return _save(figure, path)
