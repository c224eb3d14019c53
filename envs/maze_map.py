"""Maps of D4RL's mazes: which places are free, the shortest way between cells, and what leads through walls.

All places are in D4RL's frame: (along the rows, along the columns) in meters, where cells of 1 m with the numbers
(row, column) have their middle at (row - 0.2, column - 0.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError

Array = NDArray[Any]
Cell = tuple[int, int]

TO_MIDDLE = -0.2  # meters, from the numbers of a cell to its middle
_SCATTER = 0.1  # meters, of drawn places along both axes
_NEIGHBORS = ((1, 0), (-1, 0), (0, 1), (0, -1))


@dataclass(frozen=True, eq=False)
class MazeMap:
    """The walls of one maze.

    Attributes:
        walls: (rows, columns) bool, the cells of 1 m that nothing gets through; beyond them is nothing but wall.
    """

    walls: Array

    @classmethod
    def of_layout(cls, layout: Sequence[Sequence[Any]]) -> MazeMap:
        """Read rows of cells as gymnasium-robotics has them: 1 is a wall, everything else is free."""
        return cls(np.array([[cell == 1 for cell in row] for row in layout]))

    @property
    def low(self) -> Array:
        """(2,) the map's corner with the least coordinates."""
        return np.full(2, TO_MIDDLE - 0.5)

    @property
    def high(self) -> Array:
        """(2,) the map's corner with the greatest coordinates."""
        return self.low + self.walls.shape

    @cached_property
    def free(self) -> Array:
        """(cells, 2) numbers of the free cells, row by row."""
        return np.argwhere(~self.walls)

    def middle(self, cell: Cell | Array) -> Array:
        """Return the middle of a cell, (2,)."""
        return np.asarray(cell, np.float64) + TO_MIDDLE

    def cell_of(self, place: Array) -> Cell:
        """Return the cell that a place (2,) lies in; one beyond the map has none, and gets numbers beyond it."""
        row, column = np.floor(place - self.low).astype(int)
        return int(row), int(column)

    def draw(self, random: np.random.Generator, besides: Array | None = None) -> Array:
        """Draw a place (2,) in a free cell, as D4RL does: within 0.1 m of the cell's numbers, along both.

        Args:
            random: decides.
            besides: (2,) a place in whose cell it is not to be.
        """
        cells = self.free
        if besides is not None:
            cells = cells[(cells != self.cell_of(besides)).any(axis=1)]
        return cells[random.integers(len(cells))] + random.uniform(-_SCATTER, _SCATTER, size=2)

    def is_free(self, places: Array) -> Array:
        """Tell of places (..., 2) whether they are inside the map and in no wall, (...) bool."""
        at = self._in_cells(places)
        return ~self._touched(at, np.zeros_like(at))

    def check_free(self, place: Any, what: str) -> Array:
        """Return a place as an array (2,).

        Args:
            place: two numbers.
            what: for messages, "goal".

        Raises:
            LaminarError: it is outside the map, or in a wall; names the place, the map's range and the nearest free
                cell.
        """
        try:
            at = np.asarray(place, np.float64)
        except (TypeError, ValueError) as error:
            raise LaminarError(f"{what} is {place!r}, expected two numbers (rows, columns) in meters") from error
        if at.shape != (2,) or not np.isfinite(at).all():
            raise LaminarError(f"{what} is {at.tolist()}, expected two finite numbers (rows, columns) in meters")
        if self.is_free(at):
            return at
        inside = ((at >= self.low) & (at <= self.high)).all()
        problem = "in a wall of the map" if inside else "outside the map"
        spans = [f"{low:g} to {high:g}" for low, high in zip(self.low, self.high, strict=True)]
        nearest = self.middle(self.free[np.abs(self.middle(self.free) - at).sum(axis=1).argmin()])
        raise LaminarError(
            f"{what} ({at[0]:g}, {at[1]:g}) is {problem}, which reaches from {spans[0]} m along the rows and from "
            f"{spans[1]} m along the columns; the middle of the nearest free cell is ({nearest[0]:g}, {nearest[1]:g})"
        )

    def distances(self, cell: Cell) -> Array:
        """Return the steps from cell to cell on the shortest way to one, (rows, columns); -1 where there is none."""
        steps = np.full(self.walls.shape, -1)
        steps[cell] = 0
        front = [cell]
        for row, column in front:  # grows: breadth first
            for next_to in ((row + down, column + right) for down, right in _NEIGHBORS):
                if not self.walls[next_to] and steps[next_to] < 0:
                    steps[next_to] = steps[row, column] + 1
                    front.append(next_to)
        return steps

    def route(self, start: Cell, distances: Array, random: np.random.Generator) -> list[Cell]:
        """Return the cells of a shortest way, from the one after the start to the goal.

        Args:
            start: a free cell.
            distances: to the goal, from `distances`.
            random: chooses between ways of the same length.
        """
        cells, (row, column) = list[Cell](), start
        while distances[row, column] > 0:
            closer = distances[row, column] - 1
            ways = [(row + d, column + r) for d, r in _NEIGHBORS if distances[row + d, column + r] == closer]
            row, column = ways[int(random.integers(len(ways)))]
            cells.append((row, column))
        return cells

    def through_walls(self, points: Array) -> Array:
        """Tell of each step of paths (..., T, 2) whether it touches a wall anywhere on the way, (..., T - 1) bool.

        Exact for straight steps, however long they are: one that cuts the corner of a wall does touch it. The ball has
        no size here.

        Raises:
            LaminarError: fewer than two points, or a number that is not finite.
        """
        points = np.asarray(points, np.float64)
        if points.ndim < 2 or points.shape[-1] != 2 or points.shape[-2] < 2:
            raise LaminarError(f"a path through a maze is (..., at least 2 points, 2), got {points.shape}")
        if not np.isfinite(points).all():
            raise LaminarError("a path through a maze has numbers that are not finite")
        at = self._in_cells(points)
        return self._touched((at[..., 1:, :] + at[..., :-1, :]) / 2, (at[..., 1:, :] - at[..., :-1, :]) / 2)

    def share_through_walls(self, points: Array) -> Array:
        """Return the share of the steps of paths (..., T, 2) that lie in a wall or pass through one, (...)."""
        return self.through_walls(points).mean(axis=-1)

    def _in_cells(self, places: Any) -> Array:
        """Return places in meters as numbers of cells that begin at whole numbers."""
        return np.asarray(places, np.float64) - self.low

    def _touched(self, middle: Array, half: Array) -> Array:
        """Tell of segments, by their middle and half their length (..., 2), whether they touch a wall, (...) bool.

        A box and a segment are apart if they are so along a side of the box, or across the segment.
        """
        reach = np.abs(half)
        touched = np.asarray(((middle - reach < 0) | (middle + reach > self.walls.shape)).any(axis=-1))
        for row, first, last in self._wall_runs:
            box = np.array([0.5, (last - first) / 2])
            away = middle - (row + 0.5, (first + last) / 2)
            beside = (np.abs(away) <= reach + box).all(axis=-1)
            across = np.abs(away[..., 0] * half[..., 1] - away[..., 1] * half[..., 0])
            touched |= beside & (across <= box[0] * reach[..., 1] + box[1] * reach[..., 0])
        return touched

    @cached_property
    def _wall_runs(self) -> list[tuple[int, int, int]]:
        """Walls that lie side by side in a row: (row, first column, column after the last)."""
        runs: list[tuple[int, int, int]] = []
        for row, line in enumerate(self.walls):
            edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(int)))
            runs += [(row, int(first), int(last)) for first, last in edges.reshape(-1, 2)]
        return runs
