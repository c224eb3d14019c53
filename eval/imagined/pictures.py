"""The pictures of a world model's replay, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...world_models.open_loop import HORIZON, MODEL, PERSISTENCE, PREDICTORS, RIDGE, SEEN, OpenLoopErrors
from ..replay.errors import Array
from .replay import TITLES, ImaginedReplay
from .windows import Window

_COLORS = {MODEL: "tab:blue", PERSISTENCE: "tab:orange", RIDGE: "tab:green"}
_STYLES = {MODEL: "-", PERSISTENCE: ":", RIDGE: "--"}
_PANELS = 6  # numbers of a window that are drawn, those that moved most
_FRAMES = (0, 1, 5, 10, 20, 30, 40, HORIZON)  # steps after the last observation that was seen


def by_step(errors: OpenLoopErrors, path: Path) -> Path:
    """Draw the error of all numbers by steps ahead, of the model and the two that anybody has for nothing."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    panel = figure.subplots()
    for name in PREDICTORS:
        _line(panel, np.arange(1, HORIZON + 1), errors.by_step(name), name, label=TITLES[name])
    panel.set(xlabel="steps ahead", ylabel="root mean square error,\nin deviations", ylim=(0, None), xlim=(0, None))
    panel.set_title("Errors of all numbers, by steps ahead")
    panel.grid(alpha=0.3)
    _legend(figure, panel)
    return _save(figure, path)


def window(found: ImaginedReplay, one: Window, path: Path) -> Path:
    """Draw what was recorded in a window, and what was predicted, of the numbers that moved most."""
    assert found.errors is not None  # or there is nothing to draw
    numbers = moved_most(one.recorded, found.errors.spread)
    columns = min(3, len(numbers))
    rows = -(-len(numbers) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.4, 2.0 * rows + 1.1), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).reshape(-1)
    for panel in panels[len(numbers) :]:
        panel.set_visible(False)
    for index, (panel, at) in enumerate(zip(panels, numbers, strict=False)):
        _draw(panel, one, at)
        panel.set_title(found.errors.labels[at], fontsize=9, loc="left")
        if index + columns >= len(numbers):
            panel.set_xlabel("steps after the last observation")
            panel.tick_params(labelbottom=True)
    _legend(figure, panels[0], 4)
    figure.suptitle(f"{_where(one)}: error {one.error:.3g} deviations", fontsize=11)
    return _save(figure, path)


def moved_most(recorded: Array, spread: Array) -> list[int]:
    """Return the numbers whose range in a window (T, N) is the widest, in their deviations; at most six that moved."""
    reach = np.ptp(recorded, axis=0) / np.where(spread > 0, spread, np.inf)
    order = np.argsort(-reach, kind="stable")[:_PANELS]
    moving = [int(at) for at in order if reach[at] > 0]
    return sorted(moving or [int(order[0])])


def frames(found: ImaginedReplay, path: Path) -> Path:
    """Draw imagined frames below the recorded ones, of each camera in each window that is shown."""
    strips = [(one, key, strip) for one in found.shown for key, strip in one.strips.items()]
    figure = Figure(figsize=(1.15 * len(_FRAMES) + 0.4, 2.8 * len(strips)), layout="constrained")
    parts = np.atleast_1d(np.array(figure.subfigures(len(strips), 1)))
    for part, (one, key, strip) in zip(parts, strips, strict=True):
        part.suptitle(f"{key}, {_where(one)}", fontsize=9, x=0.01, ha="left")
        panels = part.subplots(2, len(_FRAMES), squeeze=False)
        for ahead, (real, dreamed) in zip(_FRAMES, panels.T, strict=True):
            _show(real, strip.recorded[SEEN - 1 + ahead])
            _show(dreamed, strip.imagined[ahead - 1] if ahead else np.full_like(strip.recorded[0], 255))
            real.set_title(f"+{ahead}" if ahead else "last seen", fontsize=8)
        for panel, name in zip(panels[:, 0], ("recorded", "imagined"), strict=True):
            panel.set_ylabel(name, fontsize=8)
    return _save(figure, path)


def _where(one: Window) -> str:
    return f"{one.place} window, episode {one.episode} from step {one.step}"


def _show(panel: Axes, picture: Array) -> None:
    panel.imshow(picture[..., :3] if picture.shape[-1] >= 3 else picture[..., 0], cmap="gray")
    panel.set(xticks=[], yticks=[])
    for side in panel.spines.values():
        side.set_visible(False)


def _draw(panel: Axes, one: Window, at: int) -> None:
    ahead = np.arange(1, HORIZON + 1)
    for name in (PERSISTENCE, RIDGE, MODEL):
        _line(panel, ahead, one.predicted[name][:, at], name, label=TITLES[name])
    panel.plot(np.arange(1 - SEEN, HORIZON + 1), one.recorded[:, at], color="black", linewidth=1.1, label="recorded")
    panel.axvline(0, color="gray", linewidth=0.8)
    low, high = one.recorded[:, at].min(), one.recorded[:, at].max()
    low, high = (min(low, one.predicted[MODEL][:, at].min()), max(high, one.predicted[MODEL][:, at].max()))
    room = 0.15 * (high - low) or 0.1  # a linear model may run away, and would leave no room for the others
    panel.set_ylim(low - room, high + room)
    panel.grid(alpha=0.3)
    panel.tick_params(labelsize=8)


def _line(panel: Axes, x: Array, y: Array, name: str, **more: Any) -> None:
    panel.plot(x, y, color=_COLORS[name], linestyle=_STYLES[name], linewidth=1.5, **more)


def _legend(figure: Figure, panel: Axes, columns: int = 3) -> None:
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=columns, fontsize=9)


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    return path
