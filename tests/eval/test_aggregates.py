"""Aggregates over tasks and training runs: by hand, against rliable's own numbers, and where there is little."""

from __future__ import annotations

import math

import numpy as np
import pytest

from laminar.errors import LaminarError
from laminar.eval.results.aggregates import (
    AGGREGATES,
    aggregate,
    performance_profile,
    probability_of_improvement,
)
from laminar.eval.results.scores import bootstrap

X = np.array([[62, 10, 95, 40], [70, 14, 90, 55], [55, 0, 99, 20], [66, 8, 110, 48], [0, 12, 97, 52]])  # runs x tasks
Y = np.array([[50, 10, 80, 60], [64, 9, 90, 58], [58, 16, 85, 35]])


def of(matrix: np.ndarray) -> list[list[list[float]]]:
    """Return scores of (runs, tasks) as tasks of runs of one episode."""
    return [[[float(run)] for run in task] for task in matrix.T]


@pytest.mark.parametrize(
    ("name", "figure", "low", "high"),
    [
        ("interquartile mean", 48.2, 36.1, 57.3),
        ("median", 46.8, 32.5, 57.3),
        ("mean", 50.15, 43.0, 55.8),
        ("optimality gap", 50.35, 44.9, 57.4),
    ],
)
def test_aggregates_are_those_of_rliable(name: str, figure: float, low: float, high: float) -> None:
    """Its version 1.2.0 says this of X with 50,000 resamples; an end moves by about 0.2 with the seed of 10,000."""
    found = aggregate(of(X), name)
    assert found.mean == pytest.approx(figure)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.4)


def test_the_probability_of_improvement_is_that_of_rliable() -> None:
    """Its version 1.2.0 says this of X and Y with 20,000 resamples."""
    found = probability_of_improvement(of(X), of(Y))
    assert found.mean == pytest.approx(0.55)
    assert (found.low, found.high) == pytest.approx((0.375, 0.75), abs=0.04)


def test_a_profile_is_that_of_rliable() -> None:
    """Its version 1.2.0 says this of X with 20,000 resamples."""
    share, low, high = performance_profile(of(X), np.array([0.0, 10.0, 50.0, 60.0, 95.0, 100.0]))
    np.testing.assert_allclose(share, [0.9, 0.8, 0.55, 0.4, 0.15, 0.05])
    np.testing.assert_allclose(low, [0.75, 0.65, 0.4, 0.3, 0.05, 0.0], atol=0.051)  # they go by steps of 0.05
    np.testing.assert_allclose(high, [1.0, 0.95, 0.7, 0.5, 0.25, 0.15], atol=0.051)


def test_aggregates_by_hand() -> None:
    scores = [[[0.0], [10.0], [20.0], [1000.0]], [[30.0], [40.0], [50.0], [-1000.0]], [[7.0], [7.0], [7.0], [7.0]]]
    means = {name: aggregate(scores, name).mean for name in AGGREGATES}
    assert means["interquartile mean"] == pytest.approx((7 + 7 + 7 + 10 + 20 + 30) / 6), "three are cut at each end"
    assert means["median"] == 7.0
    assert means["mean"] == pytest.approx((257.5 - 220 + 7) / 3)
    assert means["optimality gap"] == pytest.approx(100 - (32.5 - 220 + 7) / 3), "1000 counts as 100"


def test_a_probability_by_hand() -> None:
    first, second = [[[1.0], [2.0], [3.0]]], [[[2.0], [0.0]]]
    assert probability_of_improvement(first, second).mean == pytest.approx((0 + 1 + 0.5 + 1 + 1 + 1) / 6)
    other = probability_of_improvement(second, first)
    assert other.mean == pytest.approx(1.5 / 6)
    assert probability_of_improvement(first, first).mean == 0.5


def test_a_probability_is_averaged_over_tasks_whatever_their_scale() -> None:
    first, second = [[[1.0], [2.0]], [[-5e6], [-4e6]]], [[[0.0], [0.0]], [[-1e6], [-4e6]]]
    assert probability_of_improvement(first, second).mean == pytest.approx((1.0 + 0.125) / 2)


def test_a_probability_of_many_normal_runs() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.normal(1.0, 1.0, (90, 3)), draw.normal(0.0, 1.0, (80, 3))
    found = probability_of_improvement(of(first), of(second))
    assert found.mean == pytest.approx(0.5 * math.erfc(-0.5), abs=0.05), "Φ(1 / √2)"
    assert found.low < found.mean < found.high < found.low + 0.15


def test_where_all_pairs_agree_there_is_no_interval() -> None:
    found = probability_of_improvement([[[9.0], [8.0], [7.0]]], [[[1.0], [2.0], [3.0]]])
    assert (found.mean, found.none) == (1.0, "on each task all pairs of runs agree")
    assert aggregate([[[4.0], [4.0]], [[6.0], [6.0]]], "mean").none == "no resample differs"


def test_tasks_are_strata() -> None:
    """What tasks differ by does not widen an interval; what seeds differ by does."""
    draw = np.random.default_rng(1)
    noise = draw.normal(0, 1, (30, 2))
    alike, apart = (aggregate(of(noise + shift), "mean") for shift in ([50, 50], [0, 100]))
    assert apart.high - apart.low == pytest.approx(alike.high - alike.low)
    half = 1.96 * np.sqrt(noise.var(axis=0).sum() / 30) / 2
    assert (alike.high - alike.low) / 2 == pytest.approx(half, rel=0.05)


def test_intervals_cover() -> None:
    draw = np.random.default_rng(2)
    truth, hits = 40.0, 0
    for _ in range(60):
        runs = draw.normal([20, 40, 60], 8, (12, 3))
        found = aggregate(of(runs), "mean")
        hits += found.low <= truth <= found.high
    assert hits >= 50, "of sixty at 95 %; a bootstrap of twelve is a little short"


def test_one_run_of_a_task_has_its_episodes_drawn_anew() -> None:
    one = [10.0, 30.0, 80.0, 40.0]
    expected, found = bootstrap(one), aggregate([[one]], "mean")
    assert found.mean == expected.mean
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1.5)
    assert aggregate([[[5.0, 5.0]]], "mean").none == "no resample differs"
    both = aggregate([[one, one]], "mean")
    assert both.none == "no resample differs", "of two runs the means alone count"


def test_tasks_may_have_different_numbers_of_runs() -> None:
    scores = [[[0.0], [0.0], [30.0]], [[100.0]]]
    assert aggregate(scores, "mean").mean == pytest.approx(55.0), "the mean of the tasks' means"
    assert aggregate(scores, "interquartile mean").mean == pytest.approx(15.0), "every run counts alike"


def test_a_profile_by_hand() -> None:
    share, low, high = performance_profile([[[0.0], [50.0]], [[50.0], [90.0]]], np.array([-1.0, 0.0, 50.0, 89.0, 90.0]))
    np.testing.assert_allclose(share, [1.0, 0.75, 0.25, 0.25, 0.0])
    assert (low <= share).all()
    assert (share <= high).all()
    assert (low[1], high[1]) == (0.5, 1.0), "of the first task both runs or none may be drawn"
    assert (high[0] - low[0], high[4] - low[4]) == (0, 0)


def test_a_profile_counts_tasks_alike() -> None:
    share, _, _ = performance_profile([[[10.0]] * 9, [[0.0]]], np.array([5.0]))
    assert share == pytest.approx(0.5)


@pytest.mark.parametrize("scores", [[], [[]], [[[1.0], []]]])
def test_nothing_has_no_aggregate(scores: list[list[list[float]]]) -> None:
    with pytest.raises(LaminarError, match="a run of at least one episode in every task"):
        aggregate(scores, "mean")


def test_figures_that_are_not_finite_are_refused() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(LaminarError, match="finite scores"):
            probability_of_improvement([[[1.0]]], [[[bad]]])


def test_the_same_scores_have_the_same_intervals() -> None:
    assert aggregate(of(X), "median") == aggregate(of(X), "median")
    assert probability_of_improvement(of(X), of(Y)) == probability_of_improvement(of(X), of(Y))
