"""Maps of mazes: what is free, what leads through walls, and the shortest ways; by hand where it can be."""

from __future__ import annotations

import numpy as np
import pytest

from laminar.envs.maze_map import MazeMap
from laminar.envs.routes import Route
from laminar.errors import LaminarError

#            columns  0  1  2  3  4
LAYOUT = [
    [1, 1, 1, 1, 1],
    [1, 0, 0, 0, 1],
    [1, 1, 1, "g", 1],
    [1, "r", 0, 0, 1],
    [1, 1, 1, 1, 1],
]
U = MazeMap.of_layout(LAYOUT)
DIAGONAL = MazeMap.of_layout([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]])
OPEN = MazeMap.of_layout([[1] * 6, *([[1, 0, 0, 0, 0, 1]] * 4), [1] * 6])


def share(maze: MazeMap, *points: tuple[float, float]) -> float:
    return float(maze.share_through_walls(np.array(points)))


def test_a_cell_reaches_from_0_7_before_its_numbers_to_0_3_after_them() -> None:
    places = np.array([(0.31, 1.0), (0.29, 1.0), (1.29, 1.0), (1.31, 1.0), (1.31, 3.0), (1.0, 0.29), (1.0, 3.31)])
    np.testing.assert_array_equal(U.is_free(places), [True, False, True, False, True, False, False])
    assert U.cell_of(np.array([0.31, 1.29])) == (1, 1)
    assert U.cell_of(np.array([1.31, 1.29])) == (2, 1)
    np.testing.assert_allclose(U.middle((1, 3)), [0.8, 2.8])


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 1), (1, 2), (1, 3), (2, 3)], 0.0),
        ([(1, 1), (3, 1)], 1.0),  # both ends are free, the way is not
        ([(1, 1), (1, 2), (3, 2), (3, 1)], 1 / 3),
        ([(2, 1), (2, 1)], 1.0),  # stands in a wall
        ([(1, 1), (1, 1)], 0.0),
        ([(1, 1), (-3, 1)], 1.0),
        ([(-3, -3), (-4, -3)], 1.0),  # outside of the map
        ([(1, 1), (9, 9)], 1.0),
        ([(1.2, 2.2), (1.6, 2.5)], 1.0),  # cuts the corner (1.3, 2.3): at 1.3 it is at 2.275
        ([(1.2, 2.25), (1.6, 2.65)], 0.0),  # goes around it: at 1.3 it is at 2.35
    ],
)
def test_share_of_steps_through_walls(points: list[tuple[float, float]], expected: float) -> None:
    assert share(U, *points) == pytest.approx(expected)
    assert share(U, *reversed(points)) == pytest.approx(expected)


def test_a_diagonal_step_between_two_walls_touches_both_corners() -> None:
    """Free cells that touch at a corner alone: nothing gets from one to the other."""
    assert share(DIAGONAL, (0.8, 0.8), (1.8, 1.8)) == 1.0
    assert share(OPEN, (0.8, 0.8), (1.8, 1.8)) == 0.0


def test_it_agrees_with_many_points_on_the_way() -> None:
    random = np.random.default_rng(0)
    paths = random.uniform(0.3, 3.3, size=(400, 2, 2))
    between = np.linspace(0, 1, 2001)[:, None]
    dense = paths[:, :1] * (1 - between) + paths[:, 1:] * between
    expected = ~U.is_free(dense).all(axis=1)
    found = U.through_walls(paths)[:, 0]
    assert 0.2 < expected.mean() < 0.8
    assert (found >= expected).all(), "exact: it misses nothing that points find"
    assert (found != expected).sum() <= 2, "and finds more only where a wall is touched between two points"


def test_it_takes_batches() -> None:
    random = np.random.default_rng(1)
    paths = random.uniform(0, 4, size=(3, 5, 7, 2))
    found = U.share_through_walls(paths)
    assert found.shape == (3, 5)
    assert U.through_walls(paths).shape == (3, 5, 6)
    for batch in np.ndindex(3, 5):
        assert found[batch] == U.share_through_walls(paths[batch])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((1, 2)), r"at least 2 points, 2\), got \(1, 2\)"),
        (np.zeros((4, 3)), r"got \(4, 3\)"),
        (np.array([[1.0, 1.0], [np.nan, 1.0]]), "not finite"),
    ],
)
def test_it_refuses_what_is_no_path(points: np.ndarray, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        U.share_through_walls(points)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((2.0, 1.0), r"goal \(2, 1\) is in a wall of the map, .* nearest free cell is \(2.8, 0.8\)"),
        (
            (9.0, 1.0),
            r"goal \(9, 1\) is outside the map, which reaches from -0.7 to 4.3 m along the rows and from -0.7",
        ),
        ((1.0, -2.5), r"goal \(1, -2.5\) is outside the map"),
        ((1.0, np.nan), "expected two finite numbers"),
        ((1.0, 1.0, 1.0), "expected two finite numbers"),
        ("umaze", "expected two numbers"),
    ],
)
def test_a_goal_that_cannot_be_reached_is_refused_by_name(place: object, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        U.check_free(place, "goal")
    np.testing.assert_array_equal(U.check_free((3, 1), "goal"), [3.0, 1.0])


def test_distances_and_ways_are_the_shortest() -> None:
    to_end = U.distances((3, 1))
    assert to_end[1, 1] == 6
    assert to_end[2, 1] == -1
    random = np.random.default_rng(0)
    assert U.route((1, 1), to_end, random) == [(1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1)]
    assert U.route((3, 1), to_end, random) == []
    assert DIAGONAL.distances((1, 1))[2, 2] == -1


def test_ways_of_the_same_length_are_chosen_by_chance() -> None:
    to_corner = OPEN.distances((4, 4))
    random = np.random.default_rng(0)
    ways = {tuple(OPEN.route((1, 1), to_corner, random)) for _ in range(200)}
    assert {len(way) for way in ways} == {6}
    assert len(ways) == 20  # 6 choose 3


def test_places_are_drawn_in_all_other_cells() -> None:
    random = np.random.default_rng(0)
    places = np.array([U.draw(random, besides=np.array([1.0, 1.1])) for _ in range(300)])
    cells = {U.cell_of(place) for place in places}
    assert cells == {tuple(cell) for cell in U.free.tolist()} - {(1, 1)}
    assert np.abs(places - np.round(places)).max() <= 0.1


def test_a_route_is_followed_from_leg_to_leg() -> None:
    route = Route(np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]]), ahead=0.5)
    np.testing.assert_allclose(route.aim(np.array([0.2, 0.3])), [0.7, 0.0])
    np.testing.assert_allclose(route.aim(np.array([1.75, 0.0])), [2.0, 0.25])
    np.testing.assert_allclose(route.aim(np.array([1.0, 0.0])), [2.0, 0.5])  # never back to an earlier leg
    np.testing.assert_allclose(route.aim(np.array([2.0, 1.9])), [2.0, 2.0])
