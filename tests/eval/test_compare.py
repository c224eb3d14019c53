"""Paired comparison and its sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.errors import LaminarError
from laminar.eval.results.pair import compare_results
from laminar.eval.results.result import Episode, Result
from laminar.eval.rollouts.compare import Comparison, compare, compared


def result(totals: list[float], success: list[bool | None] | None = None, env_id: str = "Pendulum-v1") -> Result:
    told = success or [None] * len(totals)
    return Result(env_id, [Episode(i, x, 10, s) for i, (x, s) in enumerate(zip(totals, told, strict=True))])


def summary(*results: Result, names: tuple[str, ...] = ("A", "B")) -> str:
    return compared(results, names).summary()


def test_pairing_finds_what_the_spread_of_seeds_hides() -> None:
    hard = np.random.default_rng(0).normal(0, 100, 40)  # seeds differ by 100, the policies by 3
    noise = np.random.default_rng(1).normal(0, 2, 40)
    better, worse = result(list(hard + 3 + noise)), result(list(hard))
    found = compare_results(better, worse)
    assert found.difference.low > 0
    assert "A is better than B: its return is" in summary(better, worse)
    back = compare_results(worse, better)
    assert back.difference.mean == pytest.approx(-found.difference.mean)
    assert "A is worse than B: its return is" in summary(worse, better)


def test_no_difference_is_said_so() -> None:
    values = list(np.random.default_rng(0).normal(0, 1, 30))
    other = list(np.random.default_rng(1).normal(0, 1, 30))
    assert "No difference between old and new in return is shown" in summary(
        result(values), result(other), names=("old", "new")
    )


def test_success_rates_are_compared_too() -> None:
    first = result([1.0] * 20, [True] * 20)
    second = result([0.0] * 15 + [1.0] * 5, [False] * 15 + [True] * 5)
    found = compare_results(first, second)
    assert found.success_difference is not None
    assert found.success_difference.mean == pytest.approx(0.75)
    assert found.success_difference.low > 0.4
    told = summary(first, second)
    assert "A is better than B: its success rate is 0.75 higher" in told
    assert "its return" not in told, "it is 1 with success and 0 without"
    assert "15 higher, 0 lower, 5 equal returns" in told


def test_d4rl_scores_are_used_where_there_are_some() -> None:
    first = result([3000.0, 2000.0, 2500.0], env_id="hopper-medium-v2")
    second = result([1000.0, 900.0, 800.0], env_id="hopper-medium-v2")
    found = compare_results(first, second)
    assert found.normalized_difference is not None
    assert found.normalized_difference.mean == pytest.approx(100 * found.difference.mean / (3234.3 + 20.272305))
    assert "normalized score" in summary(first, second)


def test_a_policy_against_itself_differs_nowhere(noise_policy: Any, tmp_path: Path) -> None:
    policy = noise_policy("Hopper-v4")
    found = compare([policy, policy], "Hopper-v4", range(4))
    assert found.pairs[0].difference.none == "all 4 are equal"
    assert "0 higher, 0 lower, 4 equal returns" in found.summary()
    stored = json.loads(found.save(tmp_path).read_text())
    (pair,) = stored["pairs"]
    assert pair["difference"]["return"] == {
        **{"mean": 0.0, "low": None, "high": None},
        **{"no_interval": "all 4 are equal", "p": None, "p_corrected": None, "shown": False},
    }
    assert pair["difference"].keys() == {"return", "normalized_score", "mean_squared_jerk"}, "no success"
    first, second = stored["policies"]
    assert first["episodes"] == second["episodes"]
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
    text = summary(first, second)
    assert "5 seeds are too few to tell A from B" in text
    assert "better" not in text


def three(count: int = 30) -> Comparison:
    """Return a comparison of one that is better than two others, which are alike."""
    draw = np.random.default_rng(0)
    base = draw.normal(0, 1, count)
    results = [result(list(base + shift + draw.normal(0, 0.5, count))) for shift in (2.0, 0.0, 0.0)]
    return compared(results, ("best", "one", "other"))


def test_each_is_compared_with_each() -> None:
    found = three()
    assert [pair.names for pair in found.pairs] == [("best", "one"), ("best", "other"), ("one", "other")]
    differences = [pair.differences["return"] for pair in found.pairs]
    assert [one.shown for one in differences] == [True, True, False]
    for one in differences:
        assert one.corrected >= one.p
        assert one.shown == (one.interval.low > 0)
    smallest = min(differences, key=lambda one: one.p)
    assert smallest.corrected == pytest.approx(3 * smallest.p)
    text = found.summary()
    assert text.startswith("3 policies on the same 30 seeds of Pendulum-v1, return:")
    assert "best is better than one: its return is" in text
    assert "after Holm's correction)" in text
    assert found.to_json()["correction"] == "Holm, over 3 pairs"


def test_of_many_pairs_some_differ_by_chance() -> None:
    """Four policies that are all alike, 25 times: six pairs each, of which one in twenty has p below 0.05."""
    draw, by_chance, told = np.random.default_rng(0), 0, 0
    for _ in range(25):
        base = draw.normal(0, 1, 14)
        found = compared([result(list(base + draw.normal(0, 1, 14))) for _ in range(4)], list("ABCD"))
        differences = [pair.differences["return"] for pair in found.pairs]
        by_chance += any(one.p < 0.05 for one in differences)
        told += any(one.shown for one in differences)
    assert told <= 2 < by_chance
    assert "No difference in return is shown between A and B, A and C" in found.summary()


def test_smoothness_is_compared_in_pairs() -> None:
    first, second = (result([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) for _ in range(2))
    for index, (a, b) in enumerate(zip(first.episodes, second.episodes, strict=True)):
        a.jerk, b.jerk = 10.0 + index, 4.0 + index + 0.1 * (index % 2)
    second.episodes[0].jerk = None
    found = compare_results(first, second)
    assert found.jerk_difference is not None
    assert found.jerk_difference.mean == pytest.approx(6 - 0.05)
    assert "A moves less smoothly than B: its mean squared jerk is 5.95 higher" in summary(first, second)


def test_one_policy_is_no_comparison(noise_policy: Any) -> None:
    policy = noise_policy("Hopper-v4")
    with pytest.raises(LaminarError, match="at least two policies, got 1"):
        compare([policy], "Hopper-v4", range(2))
    with pytest.raises(LaminarError, match="2 policies are compared, and steps has 3 entries"):
        compare([policy, policy], "Hopper-v4", range(2), steps=[1, 2, 3])


def test_it_is_told_which_policy_failed(noise_policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, diverged = noise_policy("Hopper-v4"), noise_policy("Hopper-v4")
    monkeypatch.setattr(diverged, "sample", lambda *given: sound.sample(*given) * float("nan"))
    with pytest.raises(LaminarError, match=r"^B: the policy gave a non-finite action in 'Hopper-v4', seed 0"):
        compare([sound, diverged], "Hopper-v4", range(1))


def test_one_seed_is_one() -> None:
    text = summary(result([1.0]), result([2.0]))
    assert "1 seed is too few to tell A from B" in text
    assert "Paired over 1 seed of Pendulum-v1" in text


def test_many_policies_have_names() -> None:
    from laminar.eval.rollouts.compare import names_of

    assert names_of([Path("runs/a"), Path("runs/b")]) == ["a", "b"]
    assert names_of(["x/best", "y/best"]) == ["x/best", "y/best"]
    assert names_of(["x", "x", "y"]) == ["A", "B", "C"]
    letters = names_of([object()] * 28)  # type: ignore[list-item]
    assert letters[24:] == ["Y", "Z", "AA", "AB"]
    assert len(set(letters)) == 28
