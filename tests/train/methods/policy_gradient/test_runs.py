"""On-policy improvement through the ordinary command: what is logged, saved, evaluated and resumed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.cli import main
from laminar.eval.rollouts.episodes import evaluate
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.fine_tuned import FineTuned
from laminar.policies.generative import generative
from laminar.policies.storage import checkpoints

from ...killing import Launch, assert_as_if_never_killed, kill_and_resume
from ...saved import assert_same, final, rows

RECIPES = ("dppo", "diwa", "pmpo", "reinflow", "fpo")
each_recipe = pytest.mark.parametrize("method", RECIPES)


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


def test_what_is_tuned_stands_behind_its_base(toy: Any) -> None:
    run = toy.train("method.tuned_steps=2")
    policy = load_policy(run)
    assert isinstance(policy, FineTuned)
    assert policy.tuned_steps == 2
    assert generative(policy).checkpoint_hash() == load_policy(toy.folder / "base_dppo").checkpoint_hash()
    assert evaluate(policy, "user/Count-v0?limit=10", [0]).episodes
    again = toy.train("method.tuned_steps=2", base=run, out="again")
    further = load_policy(again)
    assert isinstance(further, FineTuned), "it goes on with the steps that were tuned"
    assert further.base is not None
    assert further.base.checkpoint_hash() == generative(policy).checkpoint_hash()
    assert further.checkpoint_hash() != policy.checkpoint_hash()


@pytest.mark.parametrize("every", [3, 4])
@each_recipe
def test_what_is_resumed_ends_the_same(toy: Any, method: str, every: int) -> None:
    """To the bit: from the end of an iteration, and from the middle of one."""
    tuned = ("method.tuned_steps=2",) if method in ("dppo", "diwa") else ()
    words = (f"checkpoint_every={every}", "method.patience=2", *tuned)
    whole = toy.train(*words, method=method, out="whole")
    shutil.copytree(whole, toy.folder / "cut")
    shutil.rmtree(checkpoints(toy.folder / "cut")[-1])
    assert checkpoints(toy.folder / "cut")[-1].name == {3: "step_00000006", 4: "step_00000004"}[every]
    assert_same(final(whole), final(toy.train(*words, "resume=true", method=method, out="cut")))


@pytest.mark.slow
def test_kill_twice(toy: Any, launch: Launch, numbers: Any) -> None:
    more = ["checkpoint_every=3", "log_every=1", "method.patience=2", "method.iterations=25"]
    assert main(toy.words(*more, out="whole")) == 0
    suite = Path(str(toy.suite.__file__))
    kill_and_resume(launch, toy.words(*more, "resume=true", out="killed"), toy.folder / "killed", [10, 50], suite=suite)
    assert_as_if_never_killed(toy.folder / "killed", toy.folder / "whole", numbers)


def test_other_processes_see_the_same(toy: Any) -> None:
    here, there = toy.train(out="here"), toy.train("env.processes=2", out="there")
    assert_same(final(here), final(there))


@each_recipe
def test_seeds_learn_as_each_alone(toy: Any, method: str) -> None:
    both = toy.train("seeds=[0,1]", method=method, out="both")
    for seed in (0, 1):
        alone = toy.train(f"seed={seed}", method=method, out=f"alone_{seed}")
        mine, theirs = final(both / f"seed_{seed}"), final(alone)
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(900)
@each_recipe
def test_a_compiled_update_is_the_same(toy: Any, method: str) -> None:
    eager = toy.train(method=method, out="eager")
    compiled = toy.train("runtime.compiled=true", method=method, out="compiled")
    mine, theirs = final(eager), final(compiled)
    for name, value in mine.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("method", "base"),
    [
        ("dppo", {"process": "diffusion", "settings": {"steps": 2}, "history": 3}),
        ("dppo", {"process": "flow", "settings": {"steps": 3}, "execute": 4}),
        ("dppo", {"process": "ctm", "settings": {"steps": 2}}),
        ("dppo", {"process": "direct", "settings": {}}),
        ("dppo", {"process": "meanflow", "settings": {}, "execute": 1, "history": 2}),
        ("reinflow", {"process": "flow", "settings": {"steps": 3}, "history": 2}),
        ("reinflow", {"process": "diffusion", "settings": {"steps": 3}}),
        ("fpo", {"process": "flow", "settings": {"steps": 2, "solver": "heun"}, "history": 2}),
        ("fpo", {"process": "diffusion", "settings": {"steps": 3, "solver": "dpmpp_2m"}}),
        ("fpo", {"process": "meanflow", "settings": {}}),
        ("pmpo", {"process": "diffusion", "settings": {"steps": 3, "solver": "ddpm"}}),
    ],
    ids=str,
)
def test_bases(toy: Any, method: str, base: dict[str, Any]) -> None:
    run = toy.train(method=method, base=toy.save(name="other", **base))
    assert 40 < rows(run)[-1]["env_steps"] <= 160
    assert evaluate(load_policy(run), "user/Count-v0?limit=10", [0]).episodes


def test_a_base_that_sees_pictures(toy: Any) -> None:
    base = toy.save("flow", {"steps": 2}, picture=True, name="other")
    run = toy.train(base=base, arguments="limit=10&picture=true&pixels=32")
    assert rows(run)[-1]["env_steps"] > 40


def test_iterations_control_steps_or_updates_say_how_long_it_is(toy: Any) -> None:
    """80 control steps in two slots, 10 chunks of two each: 2 iterations of 4 updates."""
    run = toy.train()
    for words in (("method.iterations=2",), ("steps=8",)):
        assert_same(final(run), final(toy.train(*words, out=words[0].split(".")[-1])))
