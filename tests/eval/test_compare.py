"""Paired comparison and its sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.errors import LaminarError
from laminar.eval.results.result import Episode, Result
from laminar.eval.rollouts.compare import compare, compare_results


def result(totals: list[float], success: list[bool | None] | None = None, env_id: str = "Pendulum-v1") -> Result:
    told = success or [None] * len(totals)
    return Result(env_id, [Episode(i, x, 10, s) for i, (x, s) in enumerate(zip(totals, told, strict=True))])


def test_pairing_finds_what_the_spread_of_seeds_hides() -> None:
    hard = np.random.default_rng(0).normal(0, 100, 40)  # seeds differ by 100, the policies by 3
    noise = np.random.default_rng(1).normal(0, 2, 40)
    better, worse = result(list(hard + 3 + noise)), result(list(hard))
    found = compare_results(better, worse)
    assert found.difference.low > 0
    assert "A is better than B: its return is" in found.summary()
    back = compare_results(worse, better)
    assert back.difference.mean == pytest.approx(-found.difference.mean)
    assert "A is worse than B: its return is" in back.summary()


def test_no_difference_is_said_so() -> None:
    values = list(np.random.default_rng(0).normal(0, 1, 30))
    other = list(np.random.default_rng(1).normal(0, 1, 30))
    assert (
        "No difference between old and new in return is shown"
        in compare_results(result(values), result(other), ("old", "new")).summary()
    )


def test_success_rates_are_compared_too() -> None:
    first = result([1.0] * 20, [True] * 20)
    second = result([0.0] * 15 + [1.0] * 5, [False] * 15 + [True] * 5)
    found = compare_results(first, second)
    assert found.success_difference is not None
    assert found.success_difference.mean == pytest.approx(0.75)
    assert found.success_difference.low > 0.4
    assert "success rate" in found.summary()
    assert "15 higher, 0 lower, 5 equal returns" in found.summary()


def test_d4rl_scores_are_used_where_there_are_some() -> None:
    first = result([3000.0, 2000.0, 2500.0], env_id="hopper-medium-v2")
    second = result([1000.0, 900.0, 800.0], env_id="hopper-medium-v2")
    found = compare_results(first, second)
    assert found.normalized_difference is not None
    assert found.normalized_difference.mean == pytest.approx(100 * found.difference.mean / (3234.3 + 20.272305))
    assert "normalized score" in found.summary()


def test_a_policy_against_itself_differs_nowhere(noise_policy: Any, tmp_path: Path) -> None:
    policy = noise_policy("Hopper-v4")
    found = compare(policy, policy, "Hopper-v4", range(4))
    assert found.difference.none == "all 4 are equal"
    assert "0 higher, 0 lower, 4 equal returns" in found.summary()
    stored = json.loads(found.save(tmp_path).read_text())
    assert stored["difference"]["return"] == {
        **{"mean": 0.0, "low": None, "high": None},
        "no_interval": "all 4 are equal",
    }
    assert stored["difference"]["success_rate"] is None
    assert stored["first"]["episodes"] == stored["second"]["episodes"]
    assert stored["summary"] == found.summary()


def test_what_cannot_be_compared() -> None:
    first = result([1.0, 2.0])
    with pytest.raises(LaminarError, match="evaluated in 'Pendulum-v1', B in 'Hopper-v4'"):
        compare_results(first, result([1.0, 2.0], env_id="Hopper-v4"))
    with pytest.raises(LaminarError, match="the seeds differ"):
        compare_results(first, result([1.0, 2.0, 3.0]))
    other = result([1.0, 2.0])
    other.versions = {**other.versions, "mujoco": "0.1"}
    with pytest.raises(LaminarError, match="mujoco differs"):
        compare_results(first, other)


def test_a_few_seeds_decide_nothing() -> None:
    """Five equal signs happen by chance; their bootstrap interval has no width and must not be read as proof."""
    first = Result("Hopper-v4", [Episode(seed, 3.0, 10, None) for seed in range(5)])
    second = Result("Hopper-v4", [Episode(seed, 0.0, 10, None) for seed in range(5)])
    text = compare_results(first, second).summary()
    assert "5 seeds are too few to tell A from B" in text
    assert "better" not in text
