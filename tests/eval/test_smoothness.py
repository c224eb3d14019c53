"""Mean squared jerk against closed forms, in episodes of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.eval.results.result import Episode, Result, load_result
from laminar.eval.results.smoothness import mean_squared_jerk, unit
from laminar.eval.rollouts.episodes import evaluate
from laminar.eval.rollouts.noise import NOISE_BLOCK

LIMITS = np.array([-1.0]), np.array([1.0])
STEPS = np.arange(20.0)


def column(values: Any) -> np.ndarray:
    return np.asarray(values, np.float64)[:, None]


@pytest.mark.parametrize("polynomial", [np.full(20, 0.3), 0.01 * STEPS, 0.001 * STEPS**2])
def test_steady_and_evenly_accelerated_actions_have_none(polynomial: np.ndarray) -> None:
    assert mean_squared_jerk(column(polynomial), *LIMITS, None) == pytest.approx(0.0, abs=1e-24)


def test_a_cubic_has_a_constant_one() -> None:
    """The third difference of t³ is 3! = 6; the range is 2, so jerk is 3 a, and a squared 9 a²."""
    assert mean_squared_jerk(column(0.001 * STEPS**3), *LIMITS, None) == pytest.approx(9e-6)
    assert mean_squared_jerk(column(0.001 * STEPS**3), *LIMITS, 20.0) == pytest.approx(9e-6 * 20.0**6)


def test_from_limit_to_limit_is_the_most_there_is() -> None:
    assert mean_squared_jerk(column((-1.0) ** STEPS), *LIMITS, None) == pytest.approx(16.0)


def test_dimensions_count_alike_in_units_of_their_ranges() -> None:
    wave = np.sin(STEPS)
    low, high = np.array([-1.0, -50.0, 3.0, -np.inf]), np.array([1.0, 50.0, 3.0, np.inf])
    one = mean_squared_jerk(column(wave), *LIMITS, None)
    both = mean_squared_jerk(np.stack([wave, 50 * wave], 1), low[:2], high[:2], None)
    assert both == pytest.approx(one)
    still = mean_squared_jerk(np.stack([wave, 0 * wave + 3], 1), low[[0, 2]], high[[0, 2]], None)
    assert still == pytest.approx(one / 2), "a fixed dimension does not move"
    free = mean_squared_jerk(column(wave), low[3:], high[3:], None)
    assert free == pytest.approx(4 * one), "without limits in its own unit: as if the range were 1, not 2"


def test_too_few_steps_have_none() -> None:
    assert mean_squared_jerk(column([0.1, 0.5, -0.2]), *LIMITS, None) is None
    assert mean_squared_jerk(column([0.0, 0.0, 0.0, 1.0]), *LIMITS, None) == pytest.approx(0.25)


def test_units() -> None:
    assert unit(50.0) == "range²/s⁶"
    assert unit(None) == "range²/step⁶"


def test_an_episode_has_that_of_its_clipped_actions(noise_policy: Any) -> None:
    """Against a plain loop over the noise that the seed means."""
    policy = noise_policy("Hopper-v4", scale=3.0)
    result = evaluate(policy, "Hopper-v4", [4, 5], num_envs=2)
    for episode in result.episodes:
        generator = torch.Generator().manual_seed(episode.seed)
        blocks = [torch.zeros(NOISE_BLOCK, 2, 3).normal_(generator=generator) for _ in range(8)]
        actions = (3.0 * torch.cat(blocks)[: episode.length, 0]).clamp(-1, 1).numpy()
        assert result.rate_hz == pytest.approx(125.0)
        assert episode.jerk == pytest.approx(mean_squared_jerk(actions, -np.ones(3), np.ones(3), result.rate_hz))


def test_it_does_not_depend_on_the_neighbors(noise_policy: Any) -> None:
    policy = noise_policy("Hopper-v4")
    together, alone = (evaluate(policy, "Hopper-v4", range(5), num_envs=count) for count in (5, 1))
    assert [one.jerk for one in together.episodes] == [one.jerk for one in alone.episodes]
    assert len({one.jerk for one in alone.episodes}) == 5


def test_workers_find_the_same(made_up_policy: Callable[..., Any], tmp_path: Path) -> None:
    folder = made_up_policy().save(tmp_path / "policy")
    here, there = (evaluate(folder, "Hopper-v4", range(4), num_envs=1, processes=count) for count in (0, 2))
    together = evaluate(folder, "Hopper-v4", range(4))
    assert [one.jerk for one in there.episodes] == [one.jerk for one in here.episodes]
    assert [one.jerk for one in together.episodes] == pytest.approx([one.jerk for one in here.episodes], rel=1e-4)
    assert there.rate_hz == here.rate_hz == pytest.approx(125.0)
    assert there.origin == here.origin


def test_it_is_in_the_record(tmp_path: Path) -> None:
    episodes = [
        Episode(seed, 0.0, length, None, jerk=jerk) for seed, length, jerk in ((0, 9, 2.0), (1, 9, 4.0), (2, 3, None))
    ]
    result = Result("Pendulum-v1", episodes, rate_hz=20.0)
    stored = json.loads(result.save(tmp_path).read_text())
    assert stored["mean_squared_jerk"]["mean"] == 3.0
    assert stored["mean_squared_jerk"]["unit"] == "range²/s⁶"
    assert [row["mean_squared_jerk"] for row in stored["episodes"]] == [2.0, 4.0, None]
    assert [episode.jerk for episode in load_result(tmp_path).episodes] == [2.0, 4.0, None]
    assert "1 of 3 episodes have fewer than 4 steps, and so no jerk" in result.remarks
    assert "mean squared jerk 3 [2, 4] range²/s⁶" in result.summary()


def test_none_at_all_is_no_figure() -> None:
    result = Result("Pendulum-v1", [Episode(0, 0.0, 3, None), Episode(1, 0.0, 2, None)])
    assert result.jerk is None
    assert result.to_json()["mean_squared_jerk"] is None
    assert "jerk" not in result.summary()
