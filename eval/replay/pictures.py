"""The pictures of a replay, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .curves import Curve
from .figures import LAST, MEAN, POLICY, TITLES
from .replay import Replay

_COLORS = {POLICY: "tab:blue", LAST: "tab:orange", MEAN: "tab:green"}
_SHARE = "mean absolute error, share of the action's range"


def dimensions(found: Replay, path: Path) -> Path:
    """Draw the error of each action dimension, beside those of what knows nothing."""
    labels, width = found.spec.action_labels, found.width
    rows = np.arange(len(labels))
    figure = Figure(figsize=(8, 1.6 + 0.27 * len(labels)), layout="constrained")
    panel = figure.subplots()
    for name, marker in ((POLICY, "o"), (LAST, "D"), (MEAN, "s")):
        figures = found.predictors[name].dimensions["mean_absolute"]
        mean, low, high = np.array([(one.mean, one.low, one.high) for one in figures]).T / width
        style: dict[str, Any] = {"color": _COLORS[name], "label": TITLES[name], "zorder": 3 if name == POLICY else 2}
        if name == POLICY:
            reach = np.abs([mean - low, high - mean])
            panel.errorbar(mean, rows, xerr=reach, fmt=marker, capsize=3, markersize=6, **style)
        else:
            panel.plot(mean, rows, marker, markersize=5, alpha=0.8, **style)
    panel.set(xlabel=_SHARE, xlim=(0, None), ylim=(len(labels) - 0.4, -0.6), title="Errors by action dimension")
    panel.set_yticks(rows, labels)
    panel.grid(alpha=0.3)
    _legend(figure, panel)
    return _save(figure, path)


def horizon(found: Replay, path: Path) -> Path:
    """Draw the error of each step of a chunk, with the interval of the policy's."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    panel = figure.subplots()
    for name in (POLICY, LAST, MEAN):
        figures = found.predictors[name].horizon["mean_absolute"]
        mean, low, high = np.array([(one.mean, one.low, one.high) for one in figures]).T
        steps = np.arange(1, len(mean) + 1)
        panel.plot(steps, mean, marker="o", markersize=4, color=_COLORS[name], label=TITLES[name])
        if name == POLICY:
            panel.fill_between(steps, low, high, color=_COLORS[name], alpha=0.2, label="95 % interval over episodes")
    execute = found.spec.execute
    if execute < found.spec.chunk:
        panel.axvline(execute + 0.5, color="black", linestyle=":", label=f"the first {execute} are executed")
    panel.set(xlabel="step of the chunk", ylabel=_SHARE.replace(", ", ",\n"), ylim=(0, None), title="Errors by horizon")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(alpha=0.3)
    _legend(figure, panel)
    return _save(figure, path)


def curve(found: Replay, one: Curve, path: Path) -> Path:
    """Draw recorded and executed actions of an episode, one panel a dimension."""
    labels, rate = found.spec.action_labels, found.spec.rate_hz
    columns = min(4 if len(labels) > 9 else 3, len(labels))
    rows = -(-len(labels) // columns)
    figure = Figure(figsize=(3.4 * columns + 0.4, 1.75 * rows + 1.1), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).reshape(-1)
    times = np.arange(len(one.recorded)) / (rate or 1.0)
    for panel in panels[len(labels) :]:
        panel.set_visible(False)
    for index, (panel, label) in enumerate(zip(panels, labels, strict=False)):
        _draw(panel, times, one.recorded[:, index], one.executed[:, :, index])
        panel.set_title(label, fontsize=9, loc="left")
        if index + columns >= len(labels):
            panel.set_xlabel("time (s)" if rate else "step")
            panel.tick_params(labelbottom=True)
    _legend(figure, panels[0])
    cut = f", its first {len(one.recorded)} of {one.length} steps" if len(one.recorded) < one.length else ""
    place = f"the {one.place} of {len(found.chosen.numbers)} replayed" if len(found.chosen.numbers) > 1 else "replayed"
    figure.suptitle(f"Episode {one.number}, {place}: error {one.error:.3g} of the range{cut}", fontsize=11)
    return _save(figure, path)


def _draw(panel: Axes, times: np.ndarray[Any, Any], recorded: np.ndarray[Any, Any], executed: Any) -> None:
    if len(executed) > 1:
        label = f"{len(executed)} samples, least to largest"
        panel.fill_between(times, executed.min(0), executed.max(0), color="tab:blue", alpha=0.2, lw=0, label=label)
    panel.plot(times, executed[0], color="tab:blue", linewidth=0.9, label="executed, one sample")
    panel.plot(times, recorded, color="black", linewidth=1.1, label="recorded")
    panel.grid(alpha=0.3)
    panel.tick_params(labelsize=8)


def _legend(figure: Figure, panel: Axes) -> None:
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    return path
