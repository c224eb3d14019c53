"""P-values against closed forms and against their intervals, and Holm's correction against its paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from laminar.eval.results.result import Episode, Result
from laminar.eval.results.scores import bootstrap, is_rate, paired_rates, rate, wilson
from laminar.eval.results.significance import holm, paired_rates_p, sign_flip_p


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([]) == []


def test_holm_keeps_the_chance_of_any_false_finding() -> None:
    draw = np.random.default_rng(0)
    false = [min(p for p in holm(list(draw.uniform(size=10))) if p is not None) < 0.05 for _ in range(4000)]
    assert np.mean(false) == pytest.approx(0.05, abs=0.012)


def test_sign_flips_by_hand() -> None:
    """Of 2^6 flips of six values of one sign, two give a sum as far from zero: all signs kept, all turned."""
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx(2 / 64)
    assert sign_flip_p([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]) == pytest.approx(2 / 64)
    assert sign_flip_p([1.0, -1.0]) == 1.0
    assert sign_flip_p([1.0, 2.0, -3.0]) == 1.0


def test_sign_flips_of_many_values_have_the_normal_p() -> None:
    values = np.random.default_rng(1).normal(0.06, 1.0, 1000)
    z = abs(values.sum()) / np.sqrt((values**2).sum())
    assert sign_flip_p(values) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.1)


@pytest.mark.parametrize("count", [8, 20])
def test_sign_flips_find_what_is_not_there_in_one_case_of_twenty(count: int) -> None:
    """Also for few and for skewed values, of which a bootstrap is wrong in one case of ten."""
    draw = np.random.default_rng(4)
    p = [sign_flip_p(draw.exponential(size=count) - draw.exponential(size=count)) for _ in range(300)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_p_of_rates_agrees_with_their_interval() -> None:
    draw = np.random.default_rng(2)
    for _ in range(60):
        first, second = draw.uniform(size=30) < 0.7, draw.uniform(size=30) < 0.4
        rates, p = paired_rates(first, second), paired_rates_p(first, second)
        assert (p < 0.05) == (rates.low > 0 or rates.high < 0)


def test_p_has_its_ends() -> None:
    assert sign_flip_p([2.0] * 9) is None
    assert sign_flip_p(np.arange(1.0, 40.0)) == pytest.approx(1 / 50_001)
    same = [True, False] * 10
    assert paired_rates_p(same, same) == pytest.approx(1.0)
    assert paired_rates_p([True] * 50, [False] * 50) < 1e-6


# rates


def test_a_single_trial_has_no_interval() -> None:
    assert (rate(1, 1).mean, rate(1, 1).none) == (1.0, "a single one")
    assert rate(1, 2) == wilson(1, 2)


def returns(values: list[float], success: bool | None = None) -> Result:
    return Result("Pendulum-v1", [Episode(i, x, 9, success) for i, x in enumerate(values)])


def test_a_return_of_0_or_1_is_a_rate() -> None:
    """Wilson's interval of 8 of 10 is 0.490 to 0.943 (Newcombe 1998, table I has the method's closed form)."""
    sparse = returns([1.0] * 8 + [0.0] * 2)
    assert sparse.return_is_rate
    assert sparse.mean_return == wilson(8, 10)
    assert (sparse.mean_return.low, sparse.mean_return.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    dense = returns([1.0] * 8 + [0.0, 0.5])
    assert not dense.return_is_rate
    assert dense.mean_return == bootstrap(dense.returns)


def test_all_zero_is_a_rate_only_where_success_says_so() -> None:
    assert returns([0.0] * 10, success=False).mean_return == wilson(0, 10)
    assert returns([0.0] * 10).mean_return.none == "all 10 are equal", "1 may be out of reach, or mean nothing"
    assert returns([1.0] * 10).mean_return == wilson(10, 10)
    assert is_rate([1, 0])
    assert not is_rate([0, 0])


def test_the_score_of_a_sparse_reward_has_the_interval_of_its_rate() -> None:
    result = Result("antmaze-umaze-v0", [Episode(i, float(i < 8), 9, None) for i in range(10)])
    assert result.normalized_score is not None
    assert result.normalized_score.mean == pytest.approx(80.0)
    assert result.normalized_score.low == pytest.approx(100 * wilson(8, 10).low)


def test_one_episode_has_no_interval() -> None:
    one = returns([3.0], success=True)
    for figure in (one.mean_return, one.success_rate):
        assert figure is not None
        assert figure.none == "a single one"
    assert "success 1 (a single one: no interval)" in one.summary()
    assert one.summary().startswith("Pendulum-v1: 1 episode, ")
