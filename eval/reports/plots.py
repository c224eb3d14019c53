"""The report's pictures, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..results.aggregates import FULL, performance_profile
from ..results.result import Result
from ..results.run_record import ACTION_ERROR
from ..rollouts.offline import title
from .over_tasks import Aggregates
from .recorded import Recorded

Array = NDArray[Any]
_DIMENSIONS = 30  # of an action in one picture, those that vary most
_LETTERS = 26  # of a name over a panel
_FEWEST_RUNS, _THRESHOLDS = 3, 101  # of a performance profile
_RATES = (-0.02, 1.02)  # the axis of a rate, with room for a marker at its ends
_SUCCESS = "eval/success_rate"


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def training_curve(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Draw all losses, and below them what was evaluated if anything was, against the number of updates.

    A figure that is the success rate again, as the return of a sparse reward is, is not drawn a second time.

    Args:
        rows: of metrics.jsonl, each with "step" and some named numbers.
        path: PNG file.
    """
    names = {name for row in rows for name in row}
    losses = sorted(name for name in names if "loss" in name)
    scores = sorted(name for name in names if name.startswith("eval/") or name == ACTION_ERROR)
    same = [name for name in scores if name != _SUCCESS and _points(rows, name) == _points(rows, _SUCCESS)]
    scores = [name for name in scores if name not in same]
    figure = Figure(figsize=(7, 3.2 + 2.4 * len(scores)), layout="constrained")
    panels = figure.subplots(1 + len(scores), 1, squeeze=False, sharex=True)[:, 0]
    for name in losses:
        _line(panels[0], rows, name, marker="o" if name.startswith("validation/") else "")
    panels[0].set(ylabel="loss", yscale="log", title="Training")
    panels[0].legend()
    for panel, name in zip(panels[1:], scores, strict=True):
        _line(panel, rows, name, marker="o")
        title = "held-out action error" if name == ACTION_ERROR else name.removeprefix("eval/").replace("_", " ")
        panel.set(ylabel=title)
        if name.endswith("_rate"):
            panel.set(ylim=_RATES)
    panels[-1].set_xlabel("updates")
    return _save(figure, path)


def _points(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in rows if name in row]


def _line(panel: Axes, rows: Sequence[Mapping[str, float]], name: str, marker: str = "") -> None:
    points = _points(rows, name)
    panel.plot(
        *zip(*points, strict=True), label=name, marker=marker or ("o" if len(points) == 1 else ""), linewidth=1.4
    )
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
        groups = {"with success": returns[success], "without success": returns[~success]}
        groups = {name: values for name, values in groups.items() if len(values)}
    marks = [] if data is None else [float(data.mean()), float(data.max())]
    span = (min(*returns, *marks, returns[0]), max(*returns, *marks, returns[0]))
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    panel = figure.subplots()
    colors = {"episodes": "tab:blue", "with success": "tab:green", "without success": "tab:red"}
    panel.hist(
        list(groups.values()),
        bins=30 if marks else min(30, max(5, len(returns) // 2)),
        range=span,
        stacked=True,
        color=[colors[name] for name in groups],
        label=list(groups),
        alpha=0.75,
    )
    mean = result.mean_return
    if not mean.none:
        panel.axvspan(mean.low, mean.high, color="black", alpha=0.15, label="95 % interval of the mean")
    panel.axvline(mean.mean, color="black", linewidth=1.4, label="mean")
    for value, what, color, style in zip(
        marks, ("mean", "best"), ("tab:orange", "tab:purple"), ("--", ":"), strict=False
    ):
        panel.axvline(value, color=color, linestyle=style, label=f"{what} of the data {value:.4g}")
    panel.set(xlabel="return of an episode (undiscounted sum of rewards)", ylabel="episodes", title=result.env_id)
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(fontsize=8)
    return _save(figure, path)


def paired_returns(returns: Mapping[str, Sequence[float]], path: Path) -> Path:
    """Draw the returns of several policies on the same seeds: a column of points each, the seeds joined by lines.

    Args:
        returns: policy -> (N,) returns, in the order of the seeds.
        path: PNG file.
    """
    values = np.array([*returns.values()])  # (policies, N)
    places = np.arange(len(values))
    figure = Figure(figsize=(max(5.0, 1.6 + 1.3 * len(values)), 4.0), layout="constrained")
    panel = figure.subplots()
    panel.plot(places, values, color="0.7", linewidth=0.6, zorder=1)
    panel.plot(places, values, "o", color="tab:blue", markersize=4, alpha=0.6, zorder=2)
    panel.hlines(values.mean(axis=1), places - 0.2, places + 0.2, color="black", linewidth=2.4, zorder=3)
    panel.set_xticks(places, [_short(name) for name in returns], fontsize=8)
    panel.set(ylabel="return of an episode", xlim=(-0.5, len(values) - 0.5))
    panel.grid(alpha=0.3, axis="y")
    return _save(figure, path)


def performance_profiles(found: Sequence[Aggregates], path: Path) -> Path | None:
    """Draw the share of runs above each score, with bands: a column a number, a row a budget and unit.

    Args:
        found: over all tasks.
        path: PNG file.

    Returns:
        Its path; None where no two methods have three runs or more each, which make no distribution.
    """
    shown = [one for one in found if one.rows and sum(sum(one.counts(name)) >= _FEWEST_RUNS for name in one.scores) > 1]
    if not shown:
        return None
    lines = sorted({(one.unit, one.budget) for one in shown})
    numbers = list(dict.fromkeys(one.number for one in shown))
    size = (max(6.5, 4.3 * len(numbers)), 3.0 * len(lines) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(lines), len(numbers), squeeze=False, sharey=True)
    colors = {name: f"C{index}" for index, name in enumerate(sorted({name for one in shown for name in one.scores}))}
    for panel in panels.flat:
        panel.set_visible(False)
    for one in shown:
        panel = panels[lines.index((one.unit, one.budget)), numbers.index(one.number)]
        panel.set_visible(True)
        _profile(panel, one, colors)
    handles = [Line2D([], [], color=color) for color in colors.values()]
    figure.legend(handles, [_short(name) for name in colors], loc="outside upper center", ncols=5, fontsize=8)
    return _save(figure, path)


def _profile(panel: Axes, found: Aggregates, colors: Mapping[str, str]) -> None:
    values = [np.asarray(run).mean() for tasks in found.scores.values() for runs in tasks for run in runs]
    thresholds = np.linspace(min(0.0, *values), max(FULL, *values), _THRESHOLDS)
    for name, scores in found.scores.items():
        share, low, high = performance_profile(scores, thresholds)
        panel.fill_between(thresholds, low, high, color=colors[name], alpha=0.18, linewidth=0)
        panel.plot(thresholds, share, color=colors[name], linewidth=1.4)
    panel.set(ylim=_RATES, xlabel=f"{found.unit}, τ", ylabel="share of runs above τ")
    panel.set_title(f"{title(found.number, None)}\n{found.budget}, {len(found.rows)} tasks", fontsize=9)
    panel.grid(alpha=0.3)


def shown_dimensions(chunks: Array) -> list[int]:
    """Return the dimensions of chunks (S, H, A) that one picture has place for: all, or those that vary most."""
    return np.sort(np.argsort(-chunks.std(axis=0).mean(axis=0), kind="stable")[:_DIMENSIONS]).tolist()


def action_chunks(
    chunks: Array, rate_hz: float | None, path: Path, names: Sequence[str], recorded: Recorded | None = None
) -> Path:
    """Draw several chunks sampled for one observation: one panel an action dimension, one line a sample.

    Args:
        chunks: (S, H, A), raw units.
        rate_hz: control rate, None draws against steps.
        path: PNG file.
        names: of the A numbers.
        recorded: recorded chunks, drawn over those that were sampled.
    """
    shown, horizon = shown_dimensions(chunks), chunks.shape[1]
    columns = next(number for most, number in ((3, len(shown)), (8, 4), (len(shown), 5)) if len(shown) <= most)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(max(5.0, 2.35 * columns), 1.75 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=horizon > 1).reshape(-1)
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    for number, (panel, dimension) in enumerate(zip(panels, shown, strict=False)):
        if horizon > 1:
            _chunk_lines(panel, chunks[:, :, dimension], rate_hz, recorded, dimension)
        else:
            _action_histogram(panel, chunks[:, 0, dimension], recorded, dimension)
        panel.set_title(_short(names[dimension]), fontsize=9)
        panel.tick_params(labelsize=7, labelbottom=horizon == 1 or number + columns >= len(shown))
        panel.grid(alpha=0.3)
        if number + columns >= len(shown) and horizon > 1:
            panel.set_xlabel("time (s)" if rate_hz else "step", fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False)
    return _save(figure, path)


def _chunk_lines(panel: Axes, samples: Array, rate_hz: float | None, recorded: Recorded | None, dimension: int) -> None:
    """Draw samples (S, H) of one dimension, and what was recorded."""
    seconds = 1 / (rate_hz or 1.0)
    lines = panel.plot(np.arange(samples.shape[1]) * seconds, samples.T, color="tab:blue", alpha=0.35, linewidth=1)
    lines[0].set_label(f"{len(samples)} sampled chunks")
    for number, chunk in reversed([*enumerate(recorded.chunks if recorded else [])]):
        (line,) = panel.plot(np.arange(len(chunk)) * seconds, chunk[:, dimension], color="tab:orange")
        line.set(linewidth=0.8 if number else 2, alpha=0.7 if number else 1, marker="." if len(chunk) == 1 else "")
        line.set_label("" if number else "recorded after the nearest observation")


def _action_histogram(panel: Axes, samples: Array, recorded: Recorded | None, dimension: int) -> None:
    """Draw samples (S,) of one dimension, and what was recorded."""
    panel.hist(samples, bins=20, color="tab:blue", alpha=0.75, label=f"{len(samples)} sampled actions")
    for number, chunk in reversed([*enumerate(recorded.chunks if recorded else [])]):
        line = panel.axvline(chunk[0, dimension], color="tab:orange", linewidth=0.8 if number else 2)
        line.set_label("" if number else "recorded after the nearest observation")


def _short(name: str) -> str:
    """Return a name that fits over a panel; a dollar sign in it is no formula."""
    return (name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…").replace("$", "\\$")


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
