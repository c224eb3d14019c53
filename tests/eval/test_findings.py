"""What an evaluation finds out about other people's environments, and tells."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.envs import make_env
from laminar.envs.d4rl import resolve
from laminar.envs.success import succeeded
from laminar.errors import LaminarError
from laminar.eval.reports.report import write_report
from laminar.eval.results.findings import Findings
from laminar.eval.results.pair import compare_results
from laminar.eval.results.result import Episode, Result, load_result
from laminar.eval.results.scores import Interval, bootstrap, t_interval
from laminar.eval.rollouts.compare import compare
from laminar.eval.rollouts.episodes import evaluate
from laminar.eval.rollouts.starts import check_starts
from laminar.eval.rollouts.video import Recorder

Evaluated = Callable[..., Result]


@pytest.fixture
def evaluated(strangers: str, noise_policy: Any) -> Evaluated:
    """Return a function from an environment's name (and NoisePolicy's options) to an evaluation of four episodes."""

    def run(name: str, seeds: range = range(4), **options: Any) -> Result:
        env_id = f"strangers:{name}"
        return evaluate(noise_policy(env_id, **options), env_id, seeds)

    return run


def told(result: Result, words: str) -> list[str]:
    return [remark for remark in result.remarks if words in remark]


# starts


@pytest.mark.parametrize(
    ("name", "repeat", "differ"),
    [
        ("Stranger", True, True),
        ("Coin", True, True),
        ("Deaf", True, False),
        ("Hidden", True, False),
        ("Unseen", True, True),
        ("Global", False, None),
        ("Listed", False, None),
    ],
)
def test_what_a_seed_decides(evaluated: Evaluated, name: str, repeat: bool, differ: bool | None) -> None:
    result = evaluated(f"{name}-v0", range(8))
    assert result.findings.starts is not None
    assert (result.findings.starts.repeat, result.findings.starts.differ) == (repeat, differ)
    assert bool(told(result, "starts do not repeat")) is (repeat is False)
    assert bool(told(result, "what is shown at the start is equal for all 8 seeds")) is (differ is False)
    again = Result.from_json(json.loads(json.dumps(result.to_json())))
    assert again.findings == result.findings
    assert again.remarks == result.remarks


def test_the_observation_that_does_not_repeat_is_named(strangers: str) -> None:
    env = make_env("strangers:Mixed-v0")
    inner: Any = env.unwrapped
    shown, count = inner.shown, iter(range(100))
    inner.shown = lambda: shown() | {"height": np.float32(0.25 * next(count)), "mission": f"go {next(count)}"}
    found = check_starts(env, "strangers:Mixed-v0", range(3))
    assert found.unlike == {"height": 0.5, "mission": np.inf}
    assert "'height' by up to 0.5" in found.remark


@pytest.mark.parametrize("seeds", [[0], [7], [2**63 - 1]])
def test_one_seed_is_held_against_another(strangers: str, seeds: list[int]) -> None:
    found = check_starts(make_env("strangers:Stranger-v0"), "strangers:Stranger-v0", seeds)
    assert found.differ
    assert len(found.seeds) == 2


@pytest.mark.parametrize("seeds", [[0, 1], [2, 3], [5], [2, 4, 6], [2**63 - 1]])
def test_few_seeds_are_held_against_more(strangers: str, seeds: list[int]) -> None:
    """Of two starts, some seeds have the same one."""
    found = check_starts(make_env("strangers:Coin-v0"), "strangers:Coin-v0", seeds)
    assert found.differ
    alike = check_starts(make_env("strangers:Deaf-v0"), "strangers:Deaf-v0", seeds)
    assert alike.differ is False
    assert len(set(alike.seeds)) == 8
    assert alike.seeds[: len(seeds)] == tuple(seeds)


def test_what_is_not_shown_is_not_spoken_of(evaluated: Evaluated) -> None:
    result = evaluated("Hidden-v0", noisy=False)
    assert len({episode.total for episode in result.episodes}) == 4
    (remark,) = told(result, "what is shown at the start is equal")
    assert "the seed may decide what is not shown" in remark


def test_known_starts_are_not_looked_for_again(
    evaluated: Evaluated, noise_policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from laminar.eval.rollouts import here

    first = evaluated("Deaf-v0")
    monkeypatch.setattr(here, "check_starts", None)
    policy, known = noise_policy("strangers:Deaf-v0"), first.findings.starts
    assert evaluate(policy, "strangers:Deaf-v0", range(4), starts=known).findings == first.findings


def test_the_check_does_not_change_the_episodes(noise_policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from laminar.eval.rollouts import here

    policy = noise_policy("Hopper-v4")
    checked = evaluate(policy, "Hopper-v4", range(3))
    monkeypatch.setattr(here, "check_starts", lambda env, env_id, seeds: None)
    assert evaluate(policy, "Hopper-v4", range(3)).episodes == checked.episodes


def test_unseeded_pairs_are_no_pairs(strangers: str, noise_policy: Any) -> None:
    text: dict[str, str] = {}
    for name in ("Global", "Deaf", "Stranger"):
        policy, other = (noise_policy(f"strangers:{name}-v0", scale=scale) for scale in (0.3, 0.6))
        text[name] = compare([policy, other], f"strangers:{name}-v0", range(6)).summary()
    assert "starts do not repeat under a seed, so no pair has equal starts" in text["Global"]
    assert "does not depend on the seed: all pairs begin alike, as far as can be seen" in text["Deaf"]
    assert "starts" not in text["Stranger"]


# equal episodes


def test_equal_episodes_have_no_interval(evaluated: Evaluated, tmp_path: Path) -> None:
    result = evaluated("Deaf-v0", noisy=False)
    assert result.same
    assert result.mean_return.none == "all 4 are equal"
    assert told(result, "all 4 episodes are the same one")
    assert "(all 4 are equal: no interval)" in result.summary()
    write_report(tmp_path, result)
    stored = json.loads((tmp_path / "eval.json").read_text())
    assert stored["same_episodes"] is True
    assert stored["return"] == {
        **{"mean": result.mean_return.mean, "low": None, "high": None},
        "no_interval": "all 4 are equal",
    }
    assert load_result(tmp_path).same
    page = (tmp_path / "report.md").read_text()
    assert re.search(r"\| +– \| +– \(all 4 are equal\) \|", page)
    assert "Note: all 4 episodes are the same one" in page


def test_success_of_equal_episodes_has_no_interval(evaluated: Evaluated) -> None:
    always = evaluated("Success-v0", noisy=False)
    assert always.success_rate is not None
    assert not always.same
    assert not always.success_rate.none, "starts differ, so four successes are four"
    same = replace(always, same=True)
    assert same.success_rate == Interval.missing(1.0, "all 4 are equal")
    assert compare_results(same, same).success_difference == Interval.missing(0.0, "all 4 are equal")


def test_noise_and_starts_make_episodes_differ(evaluated: Evaluated) -> None:
    assert not evaluated("Deaf-v0").same, "the policy is noisy"
    assert not evaluated("Stranger-v0", noisy=False).same, "the starts differ"
    assert not evaluated("Deaf-v0", range(1), noisy=False).same, "one is not several"


def test_equal_returns_of_other_episodes_keep_the_interval_of_success(evaluated: Evaluated) -> None:
    result = Result("x", [Episode(seed, 0.0, 80, False, 0, False) for seed in range(10)])
    assert result.mean_return == result.success_rate, "no success, no reward: the return is the rate again"
    assert bootstrap(result.returns).none == "all 10 are equal"
    assert result.success_rate is not None
    assert result.success_rate.high == pytest.approx(0.2775, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "none"),
    [([3.0], "a single one"), ([3.0, 3.0 + 1e-9], "all 2 are equal"), ([0.0] * 5, "all 5 are equal"), ([1.0, 2.0], "")],
)
def test_a_bootstrap_of_equal_values_would_have_no_width(values: list[float], none: str) -> None:
    assert bootstrap(values).none == none
    assert bootstrap([values, values]).none == (f"all {2 * len(values)} are equal" if none else ""), "strata too"


def test_equal_training_seeds_have_no_interval() -> None:
    assert t_interval([2.0, 2.0, 2.0]) == Interval.missing(2.0, "all 3 are equal")
    assert str(t_interval([2.0, 2.0, 2.0])) == "2 (all 3 are equal: no interval)"


# success


@pytest.mark.parametrize("kind", ["bool", "numpy", "float", "single", "count", "share", "robomimic"])
@pytest.mark.parametrize("key", ["success", "is_success"])
def test_success_in_many_types(evaluated: Evaluated, kind: str, key: str) -> None:
    result = evaluated(f"Success-v0?kind={kind}&key={key}")
    for episode in result.episodes:
        assert (episode.success, episode.success_steps, episode.success_at_end) == (True, 1, False)
    assert told(result, "4 of 4 successful episodes had none any more at their last step")
    assert result.success_at_end is not None
    assert result.success_at_end.mean == 0.0


def test_the_second_name_of_success_counts_where_the_first_is_nothing(evaluated: Evaluated) -> None:
    assert [episode.success for episode in evaluated("Both-v0").episodes] == [True] * 4


@pytest.mark.parametrize("kind", ["text", "many", "no number"])
def test_success_that_cannot_be_told(evaluated: Evaluated, kind: str) -> None:
    with pytest.raises(LaminarError, match=r"tells success as .* which is neither true nor false .* wrapper") as caught:
        evaluated(f"Success-v0?kind={kind}")
    assert "\n" not in str(caught.value)


def test_no_success_is_told(evaluated: Evaluated) -> None:
    assert evaluated("Success-v0?kind=nothing").success_rate is None


def test_success_at_every_step_is_doubted(evaluated: Evaluated) -> None:
    assert told(evaluated("Success-v0?always=true"), "success was reported at every step of every episode")
    assert not told(evaluated("Success-v0"), "every step")


@pytest.mark.parametrize(("value", "expected"), [(0.99, False), (1 - 1e-9, True), (-1, False), (np.float32(1), True)])
def test_a_share_of_success_is_none(value: Any, expected: bool) -> None:
    assert succeeded(value, "x") is expected


# limits, ends, keys, notes


def test_clipping_is_in_all_records(evaluated: Evaluated, tmp_path: Path) -> None:
    result = evaluated("Doubles-v0", scale=1.0)  # noise, of which most is beyond the limits
    clipping = result.findings.clipping
    assert clipping is not None
    assert clipping.steps == 20
    (remark,) = told(result, "clipped to the environment's limits")
    assert remark in result.summary()
    write_report(tmp_path, result)
    stored = json.loads((tmp_path / "eval.json").read_text())
    assert stored["clipped_actions"]["clipped_steps"] == clipping.clipped > 0
    assert stored["clipped_actions"]["dimensions"][0]["high"] == pytest.approx(0.3)
    assert remark in stored["remarks"]
    assert remark in (tmp_path / "report.md").read_text()
    assert load_result(tmp_path).findings == result.findings


def test_within_the_limits_nothing_is_told(evaluated: Evaluated) -> None:
    result = evaluated("Limited-v0", scale=0.1)
    assert result.remarks == []
    assert result.findings.clipping is not None
    assert (result.findings.clipping.steps, result.findings.clipping.clipped) == (160, 0)


def test_an_endless_environment_is_stopped_and_told(evaluated: Evaluated) -> None:
    result = evaluated("Forever-v0", range(2))
    assert [episode.length for episode in result.episodes] == [1000, 1000]
    assert told(result, "names no time limit: 2 of 2 episodes were stopped after 1000 steps")
    assert result.to_json()["step_cap"] == 1000
    assert not told(evaluated("Stranger-v0"), "time limit"), "it ended by itself"


def test_unseen_observations_are_told(strangers: str, noise_policy: Any) -> None:
    policy = noise_policy("strangers:Mixed-v0")
    policy.spec = replace(policy.spec, observation={"arm/joints": policy.spec.observation["arm/joints"]})
    result = evaluate(policy, "strangers:Mixed-v0", range(2))
    (remark,) = told(result, "does not see")
    assert "also shows 'arm/grip', 'gear', 'height', 'mission', which the policy was not trained on" in remark


@pytest.mark.parametrize(
    ("env_id", "note"),
    [
        ("Hopper-v5", "other rewards"),
        ("Walker2d-v4", "the same rewards"),
        ("Ant-v5", "other rewards"),
        ("Hopper-v2", ""),
    ],
)
def test_scores_of_other_versions_have_a_note(env_id: str, note: str) -> None:
    result = Result(env_id, [Episode(0, 10.0, 5, None), Episode(1, 20.0, 5, None)])
    assert result.normalized_score is not None
    task = resolve(env_id)
    assert task is not None
    assert note in task.note
    expected = f"D4RL's reference scores were measured in {env_id[:-1]}2; {env_id} has {note}"
    assert result.to_json()["note"].startswith(expected if note else "")
    assert bool(result.remarks) is bool(note)


def test_records_of_before_are_read() -> None:
    stored = Result("Pendulum-v1", [Episode(0, 1.0, 2, None)]).to_json()
    for key in (*Findings().to_json(), "same_episodes", "remarks", "success_at_end", "success_counts"):
        del stored[key]
    for row in stored["episodes"]:
        del row["success_steps"], row["success_at_end"]
    assert Result.from_json(stored).findings == Findings()


def test_an_environment_that_cannot_draw_says_so(strangers: str, tmp_path: Path) -> None:
    env = make_env("strangers:Stranger-v0", render=True)
    env.reset(seed=0)
    with pytest.raises(LaminarError, match=r"Stranger-v0 draws none: render\(\) .* video_episodes=0 asks for no film"):
        Recorder(tmp_path / "film.mp4", [0]).film(0, env)
