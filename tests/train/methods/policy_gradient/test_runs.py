"""On-policy improvement through the ordinary command: what is logged, saved, evaluated and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from laminar.eval.rollouts.episodes import evaluate
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.fine_tuned import FineTuned
from laminar.policies.generative import generative
from laminar.policies.storage import checkpoints

RECIPES = ("dppo", "diwa", "pmpo", "reinflow", "fpo")
each_recipe = pytest.mark.parametrize("method", RECIPES)


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def final(run: Path) -> dict[str, Any]:
    """Everything that the last checkpoint holds."""
    last = checkpoints(run)[-1]
    return {
        f"{file.name}/{name}": value
        for file in sorted(last.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@each_recipe
def test_it_is_logged_saved_and_evaluated(toy: Any, method: str) -> None:
    run = toy.train("evaluation.every=4", "evaluation.episodes=2", method=method)
    seen = [row for row in rows(run) if "loss" in row]
    assert [row["step"] for row in seen] == [4, 8]
    told = {"env_steps", "episodes", "train_return", "train_success", "value_loss", "approx_kl", "kl_to_clone"}
    assert all(told | {"explained_variance", "reward_deviation"} <= row.keys() for row in seen)
    assert seen[0]["env_steps"] <= 40 < seen[1]["env_steps"] <= 80
    assert [row["step"] for row in rows(run) if "eval/success_rate" in row] == [4, 8]
    policy = load_policy(run)
    assert isinstance(policy, GenerativePolicy)
    assert policy.checkpoint_hash() != load_policy(toy.folder / f"base_{method}").checkpoint_hash()
    assert evaluate(policy, "user/Count-v0?limit=10", [0]).episodes
