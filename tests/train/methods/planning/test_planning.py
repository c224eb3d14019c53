"""Learning a planner: its parts each by their own loss, what is resumed, stacked, held out, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.policies import load_policy
from laminar.policies.planners import Planner, fitting
from laminar.policies.storage import checkpoints
from laminar.train.improver import Context
from laminar.train.methods.planning import Planning
from laminar.train.run.logs import read_rows

from ...saved import assert_same, final

Words = Callable[..., list[str]]
RECIPES = ["diffuser", "decision_diffuser", "trajectory_diffuser", "veteran"]


def improver(words: list[str], recorded: Episodes, seed: int = 0) -> Planning:
    config = compose("train", words[1:])
    torch.manual_seed(seed)
    planner = fitting.new(config.policy, config.network, recorded)
    return Planning(planner, recorded, config.method, Context(100, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("policy", RECIPES)
def test_a_run_that_is_resumed_ends_the_same(policy: str, words: Words, tmp_path: Path) -> None:
    assert main(words(policy, out="whole")) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(checkpoints(tmp_path / "resumed")[-1])
    assert main(words(policy, "resume=true", out="resumed")) == 0
    assert_same(final(tmp_path / "whole"), final(tmp_path / "resumed"))
    assert [row["step"] for row in read_rows(tmp_path / "resumed" / "metrics.jsonl")] == [10, 20, 30, 40]
    planner = load_policy(tmp_path / "resumed")
    assert isinstance(planner, Planner)
    assert (planner.plans.drafter is None) == (policy != "trajectory_diffuser")
    assert (planner.critic is None) == (policy == "decision_diffuser")
    assert (planner.inverse is None) == (policy == "diffuser")


def test_seeds_learn_as_each_alone(words: Words, tmp_path: Path) -> None:
    policy = "trajectory_diffuser"
    assert main(words(policy, "seeds=[0,3]", out="both")) == 0
    assert main(words(policy, "seed=3", out="alone")) == 0
    together, alone = final(tmp_path / "both" / "seed_3"), final(tmp_path / "alone")
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        if "generator" not in name:
            np.testing.assert_allclose(together[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("policy", RECIPES)
def test_no_gradient_goes_from_one_part_to_another(policy: str, words: Words, rewarded: Episodes) -> None:
    learner = improver(words(policy), rewarded)
    assert learner.program is not None
    state = {name: value.clone() for name, value in learner.program.state.items()}
    names = {name for name, _ in learner.parts.named_parameters() if name.startswith("online.")}
    assert set(learner.learned) == {"plans"} | {
        part for part, there in (("inverse", policy != "diffuser"), ("critic", policy != "decision_diffuser")) if there
    } | ({"drafter"} if policy == "trajectory_diffuser" else set())
    learner.update(50)
    for part in learner.learned:
        assert not torch.equal(state[part], learner.program.state[part]), part
        assert not torch.equal(state[f"averaged_{part}"], learner.program.state[f"averaged_{part}"]), part
    sizes = sum(learner.program.state[part].numel() for part in learner.learned)
    assert sizes == sum(dict(learner.parts.named_parameters())[name].numel() for name in names)


def test_a_loss_is_about_what_is_not_known(words: Words, rewarded: Episodes) -> None:
    """Known numbers and actions beyond an episode's end do not count; the others as they are weighed."""
    learner = improver(words("diffuser", "method.action_weight=3"), rewarded)
    plans, windows = learner.parts.online.plans, learner.windows
    batch = windows.gather(torch.tensor([0, 3]))
    batch["acting"] = torch.ones_like(batch["acting"])
    batch["acting"][1, -2:] = False
    counts = plans.counted(batch["acting"]) * learner.weight
    assert counts.shape == (2, 6, 5)
    executed = learner.parts.online.spec.execute
    assert 1 < executed < 5
    assert torch.equal(counts[0, 0], torch.tensor([0.0, 0, 0, 3, 3]))
    assert torch.equal(counts[0, 1:executed], torch.tensor([[1.0, 1, 1, 3, 3]] * (executed - 1)))
    assert torch.equal(counts[0, executed:5], torch.ones(5 - executed, 5))
    assert torch.equal(counts[:, 5], torch.tensor([[1.0, 1, 1, 0, 0]] * 2))
    assert torch.equal(counts[1, 2:5, 3:], torch.tensor([[1.0, 1], [0, 0], [0, 0]]))
    draws = plans.draw(batch, torch.Generator().manual_seed(0))
    first, _ = plans.loss({**batch, "weight": learner.weight}, draws=draws)
    plan = plans.normalized(plans.layout.tokens(batch["state"], batch["action"]))
    says, should = plans.process.regression(plans.network, plan, plans.encode(plans.observed(batch)), draws[:-1])
    each = [(counts[i] * (says - should)[i].square()).sum() / counts[i].sum() for i in range(2)]
    torch.testing.assert_close(first, torch.stack(each).mean())


@pytest.mark.parametrize("policy", ["policy.process", "meanflow"])
def test_a_time_without_noise_spoils_no_weight(policy: str, words: Words, rewarded: Episodes) -> None:
    """A uniform time is 0 once in 16 million draws, and what leads to known numbers there is 0 / 0."""
    from laminar.policies.planners.config import PlannerConfig
    from laminar.policies.processes import flow, meanflow

    config = compose("train", words("diffuser")[1:])
    process = meanflow.Config() if policy == "meanflow" else flow.Config(steps=2)
    made: Any = replace(config.policy, process=process)
    assert isinstance(made, PlannerConfig)
    plans = fitting.new(made, config.network, rewarded).plans
    learner = improver(words("diffuser"), rewarded)
    batch = learner.windows.gather(torch.arange(4))
    draws = list(plans.draw(batch, torch.Generator().manual_seed(0)))
    draws[1] = draws[1].clone()
    draws[1][0] = 0.0
    if policy == "meanflow":
        draws[2] = draws[2].clone()
        draws[2][0] = 0.0
    loss, _ = plans.loss(batch, draws=tuple(draws))
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad is None or bool(weight.grad.isfinite().all()) for weight in plans.parameters())


def test_the_returns_of_the_recordings_are_from_0_to_1(words: Words, rewarded: Episodes) -> None:
    learner = improver(words("decision_diffuser"), rewarded)
    plans = learner.product().plans
    low, high = plans.return_range
    assert low == learner.windows.returns.min()
    assert high == learner.windows.returns.max()
    torch.testing.assert_close(plans.told(torch.stack((low, high)))[:, 0], torch.tensor([0.0, 1.0]))
    same = replace(rewarded, reward=np.ones(len(rewarded), np.float32))
    plans = improver(words("decision_diffuser"), same).product().plans
    assert plans.return_range[1] == plans.return_range[0] + 1, "all returns alike"


def test_held_out_episodes_measure_plans_and_actions(words: Words, tmp_path: Path, with_goals: Path) -> None:
    for policy, more in (("diffuser", {}), ("trajectory_diffuser", {"data": with_goals})):
        assert main(words(policy, "data.validation=0.25", out=policy, **more)) == 0
        rows = [row for row in read_rows(tmp_path / policy / "metrics.jsonl") if "validation/loss" in row]
        assert rows[-1]["step"] == 40
        assert all(np.isfinite(row["validation/action_error"]) and row["validation/loss"] > 0 for row in rows)
        assert load_policy(tmp_path / policy / "best") is not None


def test_a_planner_goes_on_from_a_saved_one(
    words: Words, tmp_path: Path, with_goals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("diffuser", data=with_goals)) == 0
    assert main(["train", "method=planning", f"init={tmp_path / 'run'}", f"data.path={with_goals}", "steps=5",
                 f"out={tmp_path / 'on'}"]) == 0  # fmt: skip
    first, second = load_policy(tmp_path / "run"), load_policy(tmp_path / "on")
    assert first.config == second.config
    assert first.checkpoint_hash() != second.checkpoint_hash()
    assert "leave the range" not in capsys.readouterr().err
    assert main(["train", "method=planning", f"init={tmp_path / 'run'}", f"data.path={with_goals}", "steps=5",
                 "init.normalizer=refit", f"out={tmp_path / 'refit'}"]) == 2  # fmt: skip
    assert "and not of a planner" in capsys.readouterr().err


def test_what_replays_and_guides_planners(
    words: Words, tmp_path: Path, rewarded_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("diffuser")) == 0
    run, out = f"policy.path={tmp_path / 'run'}", f"out={tmp_path / 'replayed'}"
    assert main(["replay", run, f"data.path={rewarded_file}", out]) == 0
    assert (tmp_path / "replayed" / "replay.json").is_file()
    capsys.readouterr()


def test_a_return_that_nothing_has_is_told(words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("decision_diffuser", "policy.target_return=1000", "steps=1")) == 0
    lines = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith("note: plans are asked for a return of 1000")
    ]
    assert len(lines) == 1
    assert "none of the recordings has" in lines[0]


@pytest.fixture
def files(rewarded: Episodes, tmp_path: Path) -> dict[str, Path]:
    """Return files that lack something, by what is wrong with them."""
    import h5py

    d4rl.write(tmp_path / "plain.hdf5", rewarded)
    shutil.copy(tmp_path / "plain.hdf5", tmp_path / "no_rewards.hdf5")
    with h5py.File(tmp_path / "no_rewards.hdf5", "a") as file:
        del file["rewards"]
    return {"": tmp_path / "plain.hdf5", "rewards": tmp_path / "no_rewards.hdf5"}


REFUSED = [
    ("diffuser", ["policy.horizon=22"], "", "a plan of 22 states takes 21 control steps, and the longest episode"),
    ("veteran", ["policy.horizon=12"], "", "12 states, 2 control steps apart, takes 22 control steps"),
    ("diffuser", ["policy.goals=true"], "", "needs recordings with goals, an observation 'goal' or infos/goal"),
    ("diffuser", ["policy.chunk=6", "policy.execute=2"], "", "policy.chunk=6 is longer than a plan of 6 states"),
    ("trajectory_diffuser", ["policy.draft.steps=3"], "", "the process has 2 steps, and its last 3 are asked for"),
    ("diffuser", [], "rewards", "a critic chooses among plans, and there are no rewards"),
    ("decision_diffuser", [], "rewards", "plans are conditioned on their return, and there are no rewards"),
    ("diffuser", ["method=bc"], "", "and not of a planner; choose method=planning"),
    ("diffuser", ["policy.execute=5"], "", "policy.execute=5 is more than policy.chunk=4"),
    ("diffuser", ["policy.history=2"], "", "leave policy.history at 1"),
]


@pytest.mark.parametrize(("policy", "more", "lacks", "message"), REFUSED, ids=str)
def test_bad_input_is_one_line(
    policy: str, more: list[str], lacks: str, message: str, words: Words, files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = words(policy, *more, data=files[lacks])
    if "method=bc" in more:
        command = [word for word in command if not word.startswith("method") or word == "method=bc"]
    assert main(command) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("laminar: ")]
    assert len(told) == 1
    assert message in told[0]


def test_a_planner_is_what_planning_trains(words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    command = [word for word in words("flow") if not word.startswith("policy.") and not word.startswith("network.")]
    assert main(command) == 2
    assert "method=planning trains planners, and this policy is none; choose policy=diff" in capsys.readouterr().err


def test_plans_are_of_numbers_in_single_precision(words: Words, rewarded: Episodes) -> None:
    from laminar.data.spec import Feature
    from laminar.errors import LaminarError

    pictures = np.zeros((len(rewarded), 8, 8, 3), np.uint8)
    shown = rewarded.observation | {"rgb": pictures}
    spec = replace(rewarded.spec, observation=rewarded.spec.observation | {"rgb": Feature((8, 8, 3), "uint8")})
    final = rewarded.final_observation | {"rgb": pictures[rewarded.ends - 1]}
    with pytest.raises(LaminarError, match=r"observation 'rgb' is uint8; choose others by data.observation"):
        improver(words("diffuser"), replace(rewarded, observation=shown, final_observation=final, spec=spec))
