"""Runs that start from a policy in memory: one of tensors, and one that is only called."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import laminar
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy
from laminar.policies.guided import Guided

ENV = "user/Count-v0?limit=6"
SPEC = Spec({"observation": Feature((3,))}, Feature((1,)), (-1.0,), (1.0,), chunk=5, execute=4)
METHOD = {"name": "dsrl", "batch_size": 16, "warm_up": 20, "critic": {"width": 8, "depth": 1}}


def half(observation: dict[str, torch.Tensor], noise: torch.Tensor) -> Any:
    """A policy of somebody else's: it does the half of its noise."""
    return 0.5 * noise


def train(out: Path, init: Any, **more: Any) -> Path:
    method = METHOD | {"actor": {"width": 8, "depth": 1}, "actor_start": 5}
    env = {"id": ENV, "steps": 60}
    return laminar.train(**({"init": init, "out": out, "method": method, "env": env, "checkpoint_every": 20} | more))


@pytest.mark.parametrize("edits", [0.0, 0.2])
def test_a_black_box_is_steered_by_noise_aliasing(counter: ModuleType, tmp_path: Path, edits: float) -> None:
    method = METHOD | {"actor": {"width": 8, "depth": 1}, "actor_start": 5, "edit_scale": edits}
    run = train(tmp_path / "run", laminar.black_box(half, SPEC), method=method)
    policy = laminar.load_policy(run, black_box=half)
    assert isinstance(policy, Guided)
    assert len(laminar.evaluate(policy, ENV, [0, 1]).episodes) == 2


def test_a_policy_in_memory_is_not_changed(counter: ModuleType, counting: GenerativePolicy, tmp_path: Path) -> None:
    before = counting.checkpoint_hash()
    run = train(tmp_path / "memory", counting)
    assert counting.checkpoint_hash() == before
    assert all(weight.requires_grad for weight in counting.network.parameters())
    steered = laminar.load_policy(run).composed_of
    assert steered.composed_of.checkpoint_hash() == before


def test_a_function_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match="a function does not say what it sees and does"):
        train(tmp_path / "run", half)


def test_a_method_that_trains_weights_refuses_a_black_box(
    counter: ModuleType, demonstrations: Path, tmp_path: Path
) -> None:
    two = Spec({"observation": Feature((3,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0), chunk=5, execute=4)
    with pytest.raises(LaminarError, match="init= is a black_box one; start from the policy that it was made of"):
        laminar.train(
            init=laminar.black_box(half, two), data=demonstrations, method="bc", out=tmp_path / "run", steps=2
        )
