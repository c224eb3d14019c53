"""Intervals: closed forms, coverage, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from laminar.errors import LaminarError
from laminar.eval.results.scores import bootstrap, interquartile_mean, paired_rates, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (15, 20, 0.5313, 0.8881), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_against_published_values(successes: int, trials: int, low: float, high: float) -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, gives the last case
    interval = wilson(successes, trials)
    assert interval.mean == successes / trials
    assert interval.low == pytest.approx(low, abs=2e-4)
    assert interval.high == pytest.approx(high, abs=2e-4)


def test_wilson_covers() -> None:
    generator = np.random.default_rng(0)
    for rate in (0.05, 0.5, 0.95):
        drawn = generator.binomial(50, rate, size=2000)
        covered = [wilson(int(x), 50).low <= rate <= wilson(int(x), 50).high for x in drawn]
        assert np.mean(covered) > 0.92


def test_bootstrap_of_a_normal_mean_is_close_to_the_t_interval() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=200)
    interval = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(200)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.04)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.04)


def test_bootstrap_is_repeatable_and_constant_values_have_no_width() -> None:
    values = [1.0, 5.0, 2.0]
    assert bootstrap(values) == bootstrap(values)
    constant = bootstrap([4.0] * 5)
    assert (constant.mean, constant.low, constant.high) == (4.0, 4.0, 4.0)


def test_strata_remove_the_spread_between_them() -> None:
    generator = np.random.default_rng(2)
    low, high = generator.normal(0, 1, 50), generator.normal(100, 1, 50)
    together, stratified = bootstrap(np.concatenate([low, high])), bootstrap([low, high])
    assert stratified.mean == pytest.approx(together.mean)
    assert stratified.high - stratified.low < 0.1 * (together.high - together.low)


def test_interquartile_mean_ignores_both_tails() -> None:
    values = np.array([-1e9, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1e9])
    assert interquartile_mean(values) == pytest.approx(3.5)
    assert bootstrap(values[1:-1], "iqm").mean == pytest.approx(3.5)


def test_paired_rates_uses_the_pairing() -> None:
    alike = np.array([True] * 30 + [False] * 20)
    better = alike.copy()
    better[30:40] = True
    paired = paired_rates(better, alike)
    unpaired_half = np.hypot(*[wilson(int(x.sum()), 50).mean - wilson(int(x.sum()), 50).low for x in (better, alike)])
    assert paired.mean == pytest.approx(0.2)
    assert paired.low > 0.05
    assert paired.mean - paired.low < unpaired_half
    mirrored = paired_rates(alike, better)
    assert (mirrored.low, mirrored.high) == pytest.approx((-paired.high, -paired.low))


def test_paired_rates_of_equal_policies_is_not_certain() -> None:
    interval = paired_rates([True] * 20, [True] * 20)
    assert interval.mean == 0.0
    assert interval.low < -0.05
    assert interval.high > 0.05


def test_paired_rates_matches_newcombe() -> None:
    # Newcombe 1998, paired data, method 10: table (e, f, g, h) = (43, 0, 7, 4), difference 50/54 - 43/54 reversed
    first = [True] * 43 + [True] * 0 + [False] * 7 + [False] * 4
    second = [True] * 43 + [False] * 0 + [True] * 7 + [False] * 4
    interval = paired_rates(first, second)
    assert interval.mean == pytest.approx(-7 / 54)
    assert -0.26 < interval.low < -0.2
    assert -0.06 < interval.high < -0.02


@pytest.mark.parametrize("values", [[], [[1.0], []], [1.0, float("nan")], [float("inf")]])
def test_bootstrap_refuses(values: list[float]) -> None:
    with pytest.raises(LaminarError):
        bootstrap(values)


def test_unknown_aggregate_and_empty_rate() -> None:
    with pytest.raises(LaminarError, match="unknown aggregate 'mode'"):
        bootstrap([1.0], "mode")
    with pytest.raises(LaminarError, match="got 0/0"):
        wilson(0, 0)
