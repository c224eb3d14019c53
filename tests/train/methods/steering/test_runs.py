"""Steering through the ordinary command: what is logged, saved, evaluated and resumed."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.eval.rollouts.episodes import evaluate
from laminar.policies import load_policy
from laminar.policies.edited import Edited
from laminar.policies.generative import generative
from laminar.policies.guided import Guided
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.planners import PlannerConfig, fitting
from laminar.policies.processes.flow import Config as FlowConfig
from laminar.policies.steered import Steered
from laminar.policies.storage import checkpoints

from ...saved import assert_same, final, rows


def test_dsrl_is_logged_saved_and_evaluated(toy: Any) -> None:
    run = toy.train("evaluation.every=10", "evaluation.episodes=2")
    seen = [row for row in rows(run) if "loss" in row]
    assert [row["step"] for row in seen] == [10, 20, 30]
    assert all(
        {"env_steps", "episodes", "train_return", "train_success", "critic_loss", "q"} <= row.keys() for row in seen
    )
    assert 80 <= seen[-1]["env_steps"] <= 82
    assert [row["step"] for row in rows(run) if "eval/success_rate" in row] == [10, 20, 30]
    policy = load_policy(run)
    assert isinstance(policy, Guided)
    assert isinstance(policy.base, Steered)
    assert generative(policy).checkpoint_hash() == load_policy(toy.base).checkpoint_hash(), "the base is as it was"


def test_the_log_tells_what_it_cost(toy: Any) -> None:
    run = toy.train()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    for name in ("wall_seconds", "cpu_seconds", "env_steps", "train_return", "train_success", "episodes"):
        assert [row[name] for row in rows(run)] == pytest.approx([event.value for event in board.Scalars(name)])
    wall = [row["wall_seconds"] for row in rows(run)]
    assert 0 < wall[0] <= wall[1] <= wall[2]


@pytest.mark.parametrize(
    "words",
    [
        ("method.n_step=3",),
        ("method.edit_scale=0.3", "method.candidates=3", "method.n_step=2"),
        ("env.slots=4",),
        ("method.repeated=true", "method.entropy_backup=true", "method.prior=0.1"),
        ("method.critic.heads=5", "method.actor_every=3"),
        ("method.patience=2",),
        ("method.actor_rate=0.2", "method.edit_scale=0.3"),
    ],
    ids=" ".join,
)
def test_what_is_resumed_ends_the_same(toy: Any, words: tuple[str, ...]) -> None:
    whole = toy.train(*words, out="whole")
    shutil.copytree(whole, toy.folder / "cut")
    shutil.rmtree(checkpoints(toy.folder / "cut")[-1])
    cut = toy.train(*words, "resume=true", out="cut")
    assert_same(final(whole), final(cut))


def test_residual(toy: Any) -> None:
    whole = toy.train(method="residual", out="whole")
    assert isinstance(load_policy(whole).base, Edited)
    shutil.copytree(whole, toy.folder / "cut")
    shutil.rmtree(checkpoints(toy.folder / "cut")[-1])
    assert_same(final(whole), final(toy.train("resume=true", method="residual", out="cut")))


def test_other_processes_see_the_same(toy: Any) -> None:
    words = ("env.slots=4", "method.n_step=2")
    here, there = toy.train(*words, out="here"), toy.train(*words, "env.processes=2", out="there")
    assert_same(final(here), final(there))


@pytest.mark.parametrize("method", ["dsrl", "residual"])
def test_seeds_learn_as_each_alone(toy: Any, method: str) -> None:
    both = toy.train("seeds=[0,1]", "env.steps=40", method=method, out="both")
    for seed in (0, 1):
        alone = toy.train(f"seed={seed}", "env.steps=40", method=method, out=f"alone_{seed}")
        mine, theirs = final(both / f"seed_{seed}"), final(alone)
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["dsrl", "residual"])
def test_a_compiled_update_is_the_same(toy: Any, method: str) -> None:
    eager = toy.train("env.steps=40", method=method, out="eager")
    compiled = toy.train("env.steps=40", "runtime.compiled=true", method=method, out="compiled")
    mine, theirs = final(eager), final(compiled)
    for name, value in mine.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "base",
    [
        {"history": 3},
        {"process": "diffusion", "settings": {"solver": "ddim", "steps": 3}},
        {"process": "flow", "settings": {"steps": 4}},
        {"process": "meanflow", "settings": {}},
        {"execute": 1},
        {"execute": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["dsrl", "residual"])
def test_bases(toy: Any, base: dict[str, Any], method: str) -> None:
    run = toy.train("env.slots=2", method=method, base=toy.save(name="other", **base))
    assert rows(run)[-1]["env_steps"] >= 80
    assert evaluate(load_policy(run), "user/Count-v0?limit=10", [0]).episodes


def test_a_base_that_sees_pictures(toy: Any) -> None:
    run = toy.train(base=toy.save(picture=True, name="other"), arguments="limit=10&picture=true&pixels=32")
    assert rows(run)[-1]["env_steps"] >= 80


def test_updates_or_control_steps_say_how_long_it_is(toy: Any) -> None:
    run = toy.train()
    words = [word for word in toy.words(out="updates") if not word.startswith("env.steps")]
    assert main([*words, "steps=30"]) == 0
    assert_same(final(run), final(toy.folder / "updates"))


def test_a_planner_is_steered(toy: Any) -> None:
    """Its noise is that of its plans, of all candidates; nothing here knows that it is one."""
    torch.manual_seed(0)
    config = PlannerConfig(
        FlowConfig(steps=2), chunk=4, execute=2, horizon=5, candidates=2, judge=True, actions=True,
        critic=CriticConfig(width=8, depth=1),
    )  # fmt: skip
    planner = fitting.new(config, MLPConfig(width=8, depth=1), toy.recorded()).eval()
    base = planner.save(toy.folder / "planner")
    run = toy.train("evaluation.every=10", "evaluation.episodes=2", base=base)
    assert [row["step"] for row in rows(run) if "eval/success_rate" in row] == [10, 20, 30]
    policy = load_policy(run)
    steered = policy.base if isinstance(policy, Guided) else policy
    assert isinstance(steered, Steered)
    assert steered.composed_of.checkpoint_hash() == planner.checkpoint_hash(), "the base is as it was"
    assert steered.noise_shape == (2, 5 * (3 + 1) + 1)
    seen = {"observation": torch.rand(3, 3)}
    noise = torch.randn(3, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    assert policy.sample(seen, noise).shape == (3, 4, 1)
    evaluated = ["eval", "env.id=user/Count-v0?limit=10&goal=3", "episodes=2"]
    assert main([*evaluated, f"policy.path={run}"]) == 0
    assert main([*evaluated, f"policy.path={base}", "candidates=4", "selection=argmax"]) == 0
