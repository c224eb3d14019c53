"""Evaluation tells how much of what a policy saw was unlike its training data."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from laminar.cli import main
from laminar.envs import make_env
from laminar.envs.suites.pointmaze import ENV_ID, collect
from laminar.eval.reports.report import write_report
from laminar.eval.results.result import load_result
from laminar.eval.rollouts.episodes import evaluate
from laminar.policies.generative import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config

SEEDS = range(4)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a policy whose data know nothing of places beyond 0.1 in the first coordinate."""
    torch.manual_seed(0)
    episodes = collect(make_env(ENV_ID), 2, seed=0)
    narrow = episodes.observation["observation"].copy()
    narrow[:, 0] = 0.1 * torch.linspace(-1, 1, len(narrow)).numpy()
    data = replace(episodes, observation={"observation": narrow})
    built = GenerativePolicy.build(PolicyConfig(chunk=4, execute=4), Config(width=16, depth=1), data)
    return built.save(tmp_path_factory.mktemp("policy") / "saved")


def test_here_and_in_workers_the_same_is_counted(policy: Path) -> None:
    alone = evaluate(policy, ENV_ID, SEEDS, num_envs=3)
    together = evaluate(policy, ENV_ID, SEEDS, num_envs=2, processes=2)
    for result in (alone, together):
        assert result.out_of_range is not None
        assert result.out_of_range.observations == sum(episode.length for episode in result.episodes)
        assert result.out_of_range.outside > 0.5 * result.out_of_range.observations
        assert (result.out_of_range.dimensions[0].key, result.out_of_range.dimensions[0].index) == ("observation", 0)
    assert together.out_of_range.observations == pytest.approx(alone.out_of_range.observations, rel=0.05)


def test_it_is_in_the_record_and_on_the_page(policy: Path, tmp_path: Path) -> None:
    result = evaluate(policy, ENV_ID, SEEDS)
    page = re.sub(" +", " ", write_report(tmp_path, result).with_suffix(".md").read_text())
    stored = json.loads((tmp_path / "eval.json").read_text())["out_of_range"]
    assert stored["observations"] == sum(episode.length for episode in result.episodes)
    assert stored["worst"][0]["dimension"] == 0
    assert "## Observations beside the training data" in page
    assert "| observation | 0 | " in page
    assert load_result(tmp_path).out_of_range.outside == result.out_of_range.outside


def test_a_record_of_an_earlier_version_has_none(policy: Path, tmp_path: Path) -> None:
    evaluate(policy, ENV_ID, [0]).save(tmp_path)
    stored = json.loads((tmp_path / "eval.json").read_text())
    del stored["out_of_range"]
    (tmp_path / "eval.json").write_text(json.dumps(stored))
    assert load_result(tmp_path).out_of_range is None


def test_the_command_tells(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        f"policy.path={policy}",
        f"env.id={ENV_ID}",
        "episodes=2",
        "video_episodes=0",
        f"out={tmp_path / 'report'}",
    ]
    assert main(["eval", *words]) == 0
    assert "observations outside the range of the training data: " in capsys.readouterr().out


def test_a_policy_without_statistics_tells_nothing(noise_policy, tmp_path: Path) -> None:
    result = evaluate(noise_policy(ENV_ID), ENV_ID, [0])
    assert result.out_of_range is None
    assert "beside the training data" not in write_report(tmp_path, result).read_text()
