"""Lockstep evaluation: seeds, noise, slots, and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.data.spec import Feature
from laminar.envs import make_env
from laminar.errors import LaminarError
from laminar.eval.results.result import Result, load_result
from laminar.eval.rollouts.episodes import evaluate
from laminar.eval.rollouts.noise import NOISE_BLOCK

HOPPER = "Hopper-v4"


def test_an_episode_does_not_depend_on_its_neighbors(noise_policy: Any) -> None:
    policy = noise_policy(HOPPER)
    together = evaluate(policy, HOPPER, range(8))
    alone = evaluate(policy, HOPPER, [5, 2], num_envs=1)
    few = evaluate(policy, HOPPER, range(8), num_envs=3)
    assert alone.episodes == [together.episodes[5], together.episodes[2]]
    assert few.episodes == together.episodes
    assert [episode.seed for episode in together.episodes] == list(range(8))
    assert len({episode.total for episode in together.episodes}) == 8


def test_one_thread_multiplies(noise_policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two, rows 5 and 6 of six are multiplied apart from the first four, and have other last digits."""
    policy = noise_policy("laminar/PointMaze-v0")
    seen, sample = set[int](), policy.sample

    def spy(*inputs: Any, **named: Any) -> Tensor:
        seen.add(torch.get_num_threads())
        return sample(*inputs, **named)

    monkeypatch.setattr(policy, "sample", spy)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        evaluate(policy, "laminar/PointMaze-v0", range(2))
        assert seen == {1}
        assert torch.get_num_threads() == 3, "the program has its own back"
    finally:
        torch.set_num_threads(before)


def test_against_a_plain_loop(noise_policy: Any) -> None:
    policy = noise_policy(HOPPER)
    env = make_env(HOPPER)
    env.reset(seed=4)
    generator = torch.Generator().manual_seed(4)
    total, length, over = 0.0, 0, False
    while not over:
        if length % NOISE_BLOCK == 0:
            block = torch.zeros(NOISE_BLOCK, 2, 3).normal_(generator=generator)
        action = (0.3 * block[length % NOISE_BLOCK, 0]).clamp(-1, 1)
        _, reward, terminated, truncated, _ = env.step(action.numpy())
        total, length, over = total + float(reward), length + 1, terminated or truncated
    episode = evaluate(policy, HOPPER, [4]).episodes[0]
    assert (episode.total, episode.length) == (total, length)
    assert episode.success is None


def test_one_policy_call_a_step_and_a_reset_for_each_episode(noise_policy: Any, resets: list[list[int] | None]) -> None:
    policy = noise_policy("laminar/PointMaze-v0", noisy=False)  # stands still: every episode has 80 steps
    result = evaluate(policy, "laminar/PointMaze-v0", range(5), num_envs=2)
    assert policy.calls == 240
    assert resets == [[0, 1], [0, 1], [0]]
    assert [episode.length for episode in result.episodes] == [80] * 5
    assert result.num_envs == 2


def test_success_is_success_at_any_step(noise_policy: Any) -> None:
    result = evaluate(noise_policy("maze2d-umaze-v1", scale=1.0), "maze2d-umaze-v1", range(6))
    for episode in result.episodes:
        assert episode.success == (episode.total > 0)
    assert result.success_rate is not None
    assert result.success_rate.mean == sum(e.total > 0 for e in result.episodes) / 6


def test_dictionary_observations_arrive_by_key(noise_policy: Any) -> None:
    seen: dict[str, tuple[int, ...]] = {}
    policy = noise_policy("PointMaze_UMaze-v3")
    sample = policy.sample

    def spy(obs: dict[str, Tensor], noise: Tensor | None = None) -> Tensor:
        seen.update({key: tuple(value.shape) for key, value in obs.items()})
        assert all(value.dtype == torch.float32 for value in obs.values())
        return sample(obs, noise)

    policy.sample = spy
    evaluate(policy, "PointMaze_UMaze-v3", range(2))
    assert seen == {"achieved_goal": (2, 1, 2), "desired_goal": (2, 1, 2), "observation": (2, 1, 4)}


def test_a_policy_may_keep_its_observations(noise_policy: Any) -> None:
    """What `sample` was given must not change under the policy's hands."""
    policy = noise_policy(HOPPER)
    kept: list[Tensor] = []
    sample = policy.sample

    def keep(obs: dict[str, Tensor], noise: Tensor | None = None) -> Tensor:
        kept.append(obs["observation"])
        return sample(obs, noise)

    policy.sample = keep
    evaluate(policy, HOPPER, [0])
    assert not torch.equal(kept[0], kept[1])


def test_normalized_score_and_json(noise_policy: Any, tmp_path: Path) -> None:
    result = evaluate(noise_policy("door-human-v1"), "door-human-v1", range(3))
    path = result.save(tmp_path / "new")
    stored = json.loads(path.read_text())
    assert path.name == "eval.json"
    assert stored["gymnasium_id"] == "AdroitHandDoor-v1"
    assert stored["success_rate"] == {"mean": 0.0, "low": 0.0, "high": pytest.approx(0.5615, abs=1e-3)}
    mean = stored["return"]["mean"]
    assert stored["normalized_score"]["mean"] == pytest.approx(100 * (mean + 56.512833) / (2880.5693087 + 56.512833))
    assert stored["normalized_score"]["low"] <= stored["normalized_score"]["mean"] <= stored["normalized_score"]["high"]
    assert set(stored["episodes"][0]) == {
        *("seed", "return", "length"),
        *("success", "success_steps", "success_at_end", "mean_squared_jerk"),
    }
    assert stored["versions"]["mujoco"]
    assert stored["steps_per_second"] > 0
    again = load_result(tmp_path / "new")
    assert again.episodes == result.episodes
    for key in ("return", "success_rate", "normalized_score", "versions"):
        assert again.to_json()[key] == stored[key]


def test_no_score_and_no_success_where_there_is_none(noise_policy: Any) -> None:
    pendulum = evaluate(noise_policy("Pendulum-v1"), "Pendulum-v1", [0])
    stored = pendulum.to_json()
    assert stored["normalized_score"] is None
    assert stored["success_rate"] is None


def test_wrong_observation_width_names_key_and_both_shapes(noise_policy: Any) -> None:
    policy = noise_policy(HOPPER)
    policy.spec = replace(policy.spec, observation={"observation": Feature((17,))})
    with pytest.raises(LaminarError, match=r"'observation' has shape \(17,\) for the policy but \(11,\)"):
        evaluate(policy, HOPPER, [0])
    assert policy.calls == 0


def test_a_non_finite_action_names_the_seed(noise_policy: Any) -> None:
    policy = noise_policy(HOPPER)
    policy.sample = lambda obs, noise=None: torch.full((2, 1, 3), torch.nan)
    with pytest.raises(LaminarError, match=r"non-finite action in 'Hopper-v4', seed 11"):
        evaluate(policy, HOPPER, [11, 12])


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], "at least one seed, distinct"),
        ([1, 1], "at least one seed, distinct"),
        ([1.5], "must be whole numbers from 0 to .*got 1.5"),
        ([-1], r"from 0 to 9223372036854775807 \(2\*\*63 - 1\), got -1 to -1"),
        ([5, 2**63], "got 5 to 9223372036854775808"),
    ],
)
def test_seeds_are_checked(noise_policy: Any, seeds: list[int], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        evaluate(noise_policy(HOPPER), HOPPER, seeds)


def test_workers_want_a_folder_and_no_video(noise_policy: Any, tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match="saved policy's folder"):
        evaluate(noise_policy(HOPPER), HOPPER, [0], processes=2)
    with pytest.raises(LaminarError, match="processes=0"):
        evaluate(tmp_path, HOPPER, [0], processes=2, video=tmp_path / "v.mp4")


def test_num_envs_is_checked(noise_policy: Any) -> None:
    with pytest.raises(LaminarError, match=r"num_envs must be at least 1.*got 0"):
        evaluate(noise_policy(HOPPER), HOPPER, [0], num_envs=0)


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"episodes": [], "env_id": "x"}'])
def test_a_file_that_is_no_evaluation(tmp_path: Path, content: str) -> None:
    (tmp_path / "eval.json").write_text(content)
    with pytest.raises(LaminarError, match=r"eval\.json: not an evaluation"):
        load_result(tmp_path)


def test_a_missing_file_and_no_episodes(tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match="cannot be read"):
        load_result(tmp_path)
    with pytest.raises(LaminarError, match="no episodes"):
        Result(HOPPER, [])
