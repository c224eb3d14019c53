"""The pictures of plans, as PNG files: over the map of a maze, or as curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray

from ...envs.maze_map import TO_MIDDLE, MazeMap
from .planned import Planned

Array = NDArray[Any]
REACHED = 0.5  # m, from the goal
_COLORS = "viridis"  # of a plan, from its start to its end
_OTHERS = 60  # candidates, at most, that are drawn beside the chosen one
_PANELS = 24  # numbers of a state that one picture has place for, those that vary most


@dataclass(frozen=True)
class Paths:
    """What is drawn over the map of a maze, all in D4RL's frame.

    Attributes:
        plans: (K, T, 2) that are followed.
        stride: control steps between the places of a plan.
        goal: (2,).
        others: (M, T, 2) candidates that were not chosen.
        driven: (L, 2) where the policy drove.
    """

    plans: Array
    stride: int = 1
    goal: Array | None = None
    others: Array | None = None
    driven: Array | None = None


def draw_maze(maze_map: MazeMap, paths: Paths, title: str, path: Path) -> Path:
    """Draw planned paths over the walls of a maze; rows go down and columns to the right, as a map is written.

    Args:
        maze_map: of the maze.
        paths: what is drawn.
        title: over the picture.
        path: PNG file.
    """
    rows, columns = maze_map.walls.shape
    figure = Figure(figsize=(max(4.6, 0.72 * columns + 1.4), max(3.8, 0.72 * rows + 1.2)), layout="constrained")
    panel = figure.subplots()
    _walls(panel, maze_map)
    if paths.others is not None and len(paths.others):
        shown = paths.others[:: -(-len(paths.others) // _OTHERS)]
        label = f"{len(shown)} of {len(paths.others)} other candidates"
        panel.add_collection(LineCollection([*shown[..., ::-1]], colors="0.5", linewidths=0.6, alpha=0.5, label=label))
    if paths.driven is not None:
        panel.plot(*_drawn(paths.driven), color="tab:orange", linewidth=1.1, label="driven", zorder=3.5)
    scale = _colored(panel, paths)
    through = maze_map.through_walls(paths.plans)
    if through.any():
        middles = (paths.plans[:, 1:] + paths.plans[:, :-1])[through] / 2
        panel.plot(*_drawn(middles), "x", color="tab:red", markersize=5, label="steps through walls", zorder=4)
    panel.plot(*_drawn(paths.plans[:, 0]), "o", color="tab:green", markersize=8, label="start", zorder=5)
    if paths.goal is not None:
        panel.add_patch(Circle((paths.goal[1], paths.goal[0]), REACHED, color="tab:red", alpha=0.2, linewidth=0))
        panel.plot(*_drawn(paths.goal), "*", color="tab:red", markersize=12, label="goal", zorder=5)
    panel.set(xlabel="along the columns (m)", ylabel="along the rows (m)", aspect="equal")
    panel.set_title(title, fontsize=9)
    panel.set(xlim=(maze_map.low[1], maze_map.high[1]), ylim=(maze_map.high[0], maze_map.low[0]))
    figure.colorbar(scale, ax=panel, label="control step of the plan", shrink=0.8)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return _save(figure, path)


def _drawn(places: Array) -> tuple[Array, Array]:
    """Return places (..., 2) as what goes to the right, and what goes down."""
    return places[..., 1], places[..., 0]


def _walls(panel: Axes, maze_map: MazeMap) -> None:
    for row, column in np.argwhere(maze_map.walls):
        corner = (column + TO_MIDDLE - 0.5, row + TO_MIDDLE - 0.5)
        panel.add_patch(Rectangle(corner, 1.0, 1.0, facecolor="0.75", edgecolor="0.7", linewidth=0.5))


def _colored(panel: Axes, paths: Paths) -> LineCollection:
    """Draw the plans, each in colors that tell the control step, and return one of them."""
    steps = np.arange(paths.plans.shape[1] - 1) * paths.stride
    norm = Normalize(0, max(1, paths.stride * (paths.plans.shape[1] - 1)))
    drawn: list[LineCollection] = []
    for plan in paths.plans[..., ::-1]:
        pieces = np.stack((plan[:-1], plan[1:]), axis=1)
        drawn.append(LineCollection([*pieces], cmap=_COLORS, norm=norm, linewidths=2.2, zorder=3))
        drawn[-1].set_array(steps)
        panel.add_collection(drawn[-1])
        if paths.stride > 1:  # where the planned states are
            panel.scatter(*plan.T, c=[*steps, steps[-1] + paths.stride], cmap=_COLORS, norm=norm, s=9, zorder=3)
    return drawn[0]


def draw_curves(found: Planned, title: str, path: Path) -> Path:
    """Draw the states and actions of the chosen plans over control steps, and what the critic says of all candidates.

    Args:
        found: the plans.
        title: over the picture.
        path: PNG file.
    """
    states = found.of_chosen(found.states)
    curves = [(label, states[..., index], found.stride) for index, label in _varying(states, found.state_labels)]
    if found.actions is not None:
        actions = found.of_chosen(found.actions)
        curves += [(name, actions[..., i], 1) for i, name in _varying(actions, [*found.spec.action_labels])]
    count = len(curves) + (found.returns is not None)
    columns = min(4, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(5.0, 2.9 * columns), 1.8 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for panel in panels[count:]:
        panel.set_visible(False)
    for panel, (label, values, stride) in zip(panels, curves, strict=False):
        marker = "." if values.shape[1] <= 40 else ""
        panel.plot(np.arange(values.shape[1]) * stride, values.T, marker=marker, linewidth=1.3)
        panel.set_title(label.replace("$", "\\$"), fontsize=9)
    if found.returns is not None:
        _returns(panels[count - 1], found.returns, found.chosen)
    for panel in panels[:count]:
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.3)
    for panel in panels[max(0, len(curves) - columns) : len(curves)]:
        panel.set_xlabel("control step", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return _save(figure, path)


def _varying(values: Array, labels: list[str]) -> list[tuple[int, str]]:
    """Return index and label of the numbers of (K, T, D) that one picture has place for."""
    shown = np.argsort(-values.std(axis=1).mean(axis=0), kind="stable")[:_PANELS]
    return [(int(index), labels[index]) for index in np.sort(shown)]


def _returns(panel: Axes, returns: Array, chosen: NDArray[np.int64]) -> None:
    """Draw what the critic expects of the candidates (K, N) of each plan, the chosen one in front."""
    for number, (values, index) in enumerate(zip(returns, chosen, strict=True)):
        panel.plot(np.full(len(values), number), values, "o", color="0.6", markersize=3, alpha=0.6)
        panel.plot(number, values[index], "o", color="tab:red", markersize=6)
    panel.set_title("return by the critic (red: chosen)", fontsize=9)
    panel.set_xlabel("plan", fontsize=8)
    panel.set_xticks(range(len(returns)))


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
