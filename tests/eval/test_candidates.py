"""Evaluation with the critic's choice among candidates, and the three numbers of an offline run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.errors import LaminarError
from laminar.eval.reports import behavior
from laminar.eval.reports.as_markdown import blocks_as_markdown
from laminar.eval.reports.offline_report import three_numbers
from laminar.eval.reports.report import write_report
from laminar.eval.results.result import Episode, Result, load_result
from laminar.eval.results.run_record import METRICS
from laminar.eval.results.scores import rate
from laminar.eval.rollouts.episodes import evaluate
from laminar.eval.rollouts.offline import OfflineResult, episode_scores, evaluate_offline, load_offline, score
from laminar.policies import PolicyConfig, load_policy
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, guide
from laminar.policies.module import PolicyModule
from laminar.policies.processes.direct import Config as DirectConfig

ENV = "hopper-medium-v2"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a file in D4RL's layout: two episodes with returns 3 and 9."""
    path = tmp_path_factory.mktemp("data") / "two-episodes.hdf5"
    ends = np.array([False, False, True] * 2)
    with h5py.File(path, "w") as file:
        file["observations"] = np.random.default_rng(0).normal(size=(6, 11)).astype(np.float32)
        file["actions"] = np.zeros((6, 3), np.float32)
        file["rewards"] = np.array([1, 1, 1, 3, 3, 3], np.float32)
        file["terminals"] = ends
        file["timeouts"] = np.zeros(6, bool)
    return path


@pytest.fixture
def run(data: Path, tmp_path: Path, made_up_policy: Callable[..., PolicyModule]) -> Path:
    """Write the folder of a finished run, with other weights in its best policy."""
    folder = tmp_path / "run"
    settings = {
        "data": {"path": str(data), "observation": None, "action": None, "instruction": None},
        "policy": {"process": {"name": "meanflow"}},
        "method": {"name": "q_learning", "recipe": "ofql", "reward": "none"},
        "evaluation": {"every": 10, "episodes": 2, "seed": 10_000},
        "steps": 20,
        "seed": 3,
    }
    policy = made_up_policy()
    policy.save(folder / "checkpoints" / "step_00000020")
    with torch.no_grad():
        for weight in generative(policy).network.parameters():
            weight.mul_(0.5)
    policy.save(folder / "checkpoints" / "step_00000010")
    policy.save(folder / "best")
    best = {"step": 10, "metric": "normalized_score", "value": 12.5}
    (folder / "best" / "best.json").write_text(json.dumps(best))
    (folder / "run.json").write_text(json.dumps(settings))
    return folder


def test_a_guided_policy_is_evaluated_like_any_other(run: Path) -> None:
    policy = load_policy(run)
    guided = evaluate(guide(policy, Acting(20, "argmax")), ENV, range(4))
    assert guided.acting == Acting(20, "argmax")
    assert guided.checkpoint == policy.checkpoint_hash()
    single = evaluate(policy, ENV, range(4))
    assert single.acting == Acting()
    assert guided.returns != single.returns
    from_folder = evaluate(run, ENV, range(4), num_envs=1, acting=Acting(20, "argmax"))
    assert from_folder.returns == pytest.approx(guided.returns), "the number of environments does not matter"


@pytest.mark.slow
def test_workers_choose_the_same(run: Path) -> None:
    here = evaluate(run, ENV, range(3), num_envs=1, acting=Acting(9))
    sharded = evaluate(run, ENV, range(3), num_envs=1, processes=2, acting=Acting(9))
    assert (sharded.episodes, sharded.acting) == (here.episodes, here.acting)


def test_a_baseline_has_nothing_to_choose_with(noise_policy) -> None:
    with pytest.raises(LaminarError, match="NoisePolicy acts as it was built, and cannot be told to act otherwise"):
        evaluate(noise_policy("Hopper-v4"), "Hopper-v4", [0], acting=Acting(5))


def test_acting_is_recorded(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behavior, "_ACTIONS", 20)
    out = tmp_path / "eval"
    words = ["eval", f"policy.path={run}", f"env.id={ENV}", "episodes=2", "video_episodes=0", f"out={out}"]
    assert main([*words, "candidates=8", "temperature=2"]) == 0
    assert ", softmax of Q / 2 among 8 candidates\n" in capsys.readouterr().out
    stored = json.loads((out / "eval.json").read_text())
    assert stored["acting"] == {"candidates": 8, "selection": "softmax", "temperature": 2.0, "noise_scale": 1.0}
    assert "- acting: softmax of Q / 2 among 8 candidates" in (out / "report.md").read_text()
    assert load_result(out).acting == Acting(8, "softmax", 2.0)
    assert main(words[:-1]) == 0
    assert "candidates" not in capsys.readouterr().out
    assert main([*words[:-1], "noise_scale=0.5"]) == 0
    assert ", single sample, noise x 0.5\n" in capsys.readouterr().out


def test_records_without_acting_are_single_samples(made_up_policy: Callable[..., PolicyModule]) -> None:
    stored = Result(ENV, evaluate(made_up_policy(), ENV, [0]).episodes).to_json()
    del stored["acting"]
    assert Result.from_json(stored).acting == Acting()


def test_the_three_numbers(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behavior, "_ACTIONS", 20)
    out = tmp_path / "eval"
    words = ["eval", f"policy.path={run}", f"env.id={ENV}", "episodes=3", "seed=7", "protocol=offline"]
    assert main([*words, "candidates=6", "video_episodes=0", f"out={out}"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "single sample, last checkpoint (20 updates): normalized score ",
        "softmax of Q / 1 among 6 candidates, last checkpoint (20 updates): normalized score ",
        "single sample, best checkpoint (10 updates): normalized score ",
    ):
        assert line in printed
    single = evaluate(run / "checkpoints" / "step_00000020", ENV, range(7, 10))
    best = evaluate(run / "best", ENV, range(7, 10))
    found = load_offline(out)
    assert found.numbers["single_last"].episodes == single.episodes
    assert found.numbers["best"].episodes == best.episodes != single.episodes
    assert found.numbers["candidates_last"].checkpoint == single.checkpoint
    assert found.numbers["candidates_last"].acting == Acting(6)
    assert load_result(out).episodes == single.episodes, "it still is an ordinary record of the first number"
    stored = json.loads((out / "eval.json").read_text())
    assert stored["seeds"] == {"training": 3, "evaluation": [7, 8, 9]}
    assert stored["best"] == {"step": 10, "metric": "normalized_score", "value": 12.5}
    assert stored["run"]["settings"]["method"]["recipe"] == "ofql"
    page = (out / "report.md").read_text()
    assert "chosen by normalized_score 12.5 in an evaluation during training" in page
    assert "| single sample, best checkpoint | 10 |" in re.sub(" +", " ", page)
    assert page.count(str(single.normalized_score)) == 1, "a figure is told once"


def test_candidates_are_chosen_as_in_the_paper_unless_told_otherwise(run: Path) -> None:
    """A softmax of Q among 50 (Wang et al. 2023, their code); scores at another number are not theirs."""
    found = evaluate_offline(run, ENV, [0])
    assert found.numbers["candidates_last"].acting == Acting(50, "softmax", 1.0) == Acting(50)
    assert found.numbers["single_last"].acting == found.numbers["best"].acting == Acting(1)


def test_environment_steps_are_those_of_the_checkpoint(run: Path) -> None:
    rows = [
        {"step": 10, "env_steps": 500.0},
        {"step": 20, "env_steps": 900.0},
        {"step": 20},
        {"step": 30, "env_steps": 2e3},
    ]
    (run / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = evaluate_offline(run, ENV, [0], acting=Acting(2))
    assert found.env_steps == 900
    assert OfflineResult.from_json(found.to_json()).env_steps == 900


def test_success_in_percent_stands_where_there_is_no_score() -> None:
    told = [Episode(seed, -5.0, 9, seed < 3) for seed in range(4)]
    unit, figure = score(Result("Pendulum-v1", told))
    expected = rate(3, 4)
    assert unit == "success %"
    assert (figure.mean, figure.low, figure.high) == pytest.approx((75.0, 100 * expected.low, 100 * expected.high))
    assert episode_scores(Result("Pendulum-v1", told)).tolist() == [100.0, 100.0, 100.0, 0.0]
    silent = Result("Pendulum-v1", [Episode(0, -5.0, 9, None), Episode(1, -7.0, 9, None)])
    assert score(silent)[0] == "return"
    assert episode_scores(silent).tolist() == [-5.0, -7.0]
    known = Result("hopper-medium-v2", told)
    assert score(known)[0] == "normalized score"
    assert episode_scores(known).mean() == pytest.approx(score(known)[1].mean)


def test_less_noise_for_all_three_numbers(run: Path) -> None:
    found = evaluate_offline(run, ENV, range(2), acting=Acting(3, noise_scale=0.5)).numbers
    assert found["single_last"].acting == found["best"].acting == Acting(noise_scale=0.5)
    assert found["candidates_last"].acting == Acting(3, noise_scale=0.5)
    with pytest.raises(LaminarError, match="measures the single sample anyway; give candidates=N above 1"):
        evaluate_offline(run, ENV, range(2), acting=Acting(noise_scale=0.5))


def test_without_noise_there_is_nothing_to_choose_from(run: Path) -> None:
    found = evaluate_offline(run, ENV, range(2), acting=Acting(noise_scale=0.0))
    assert {name: result.acting for name, result in found.numbers.items()} == {
        "single_last": Acting(noise_scale=0.0),
        "best": Acting(noise_scale=0.0),
    }
    assert found.missing == {"candidates_last": "without noise all candidates are the same"}


@pytest.mark.parametrize("noise", [False, True])
def test_a_deterministic_actor_has_no_candidates(
    run: Path, noise: bool, made_up_policy: Callable[..., PolicyModule]
) -> None:
    """The one of TD3+BC and ReBRAC; FQL's sees the noise."""
    made_up_policy(PolicyConfig(process=DirectConfig(noise=noise))).save(run / "checkpoints" / "step_00000020")
    found = evaluate_offline(run, ENV, range(2), acting=Acting(3))
    assert ("candidates_last" in found.numbers) == noise
    alike = {"candidates_last": "the actor is deterministic, all its candidates are the same"}
    assert found.missing == ({} if noise else alike)


@pytest.mark.parametrize("more", [[], ["candidates=8"]])
def test_a_run_is_measured_without_noise(run: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", f"policy.path={run}", f"env.id={ENV}", "episodes=2", "protocol=offline", "noise_scale=0"]
    assert main([*words, *more]) == 0
    printed = capsys.readouterr().out
    assert "single sample, noise x 0, last checkpoint (20 updates): normalized score " in printed
    assert "choice among candidates, last checkpoint: without noise all candidates are the same" in printed


def test_numbers_that_a_run_does_not_have(run: Path, made_up_policy: Callable[..., PolicyModule]) -> None:
    shutil.rmtree(run / "best")
    shutil.rmtree(run / "checkpoints" / "step_00000020")
    made_up_policy(critic=False).save(run / "checkpoints" / "step_00000015")
    found = evaluate_offline(run, ENV, range(2))
    assert list(found.numbers) == ["single_last"]
    told = " ".join(found.remarks)
    assert "the policy has no critic" in told
    assert "train with env.id=ENVIRONMENT evaluation.every=N, which keeps the best" in told
    assert "the run is not finished: 15 of 20 updates" in told
    page = "\n".join(blocks_as_markdown(three_numbers(found)))
    assert all(remark in found.summary() and remark in page for remark in found.remarks)


def test_seeds_that_chose_the_best_checkpoint_are_told(run: Path) -> None:
    chosen = evaluate_offline(run, ENV, range(10_001, 10_003), acting=Acting(2))
    assert any("chosen on seeds that are measured again here" in remark for remark in chosen.remarks)
    assert evaluate_offline(run, ENV, range(10_002, 10_004), acting=Acting(2)).remarks == []


def test_the_report_labels_the_returns_of_the_data(run: Path, data: Path, tmp_path: Path) -> None:
    result = evaluate(run, ENV, [0, 1])
    page = write_report(tmp_path / "with", result, run).with_suffix(".md").read_text()
    assert "returns of the training data: 2 episodes, mean 6, best 9" in page
    gone = json.loads((run / "run.json").read_text())
    gone["data"]["path"] = [str(data), str(tmp_path / "gone.hdf5")]
    (run / "run.json").write_text(json.dumps(gone))
    page = write_report(tmp_path / "without", result, run).with_suffix(".md").read_text()
    assert "the training data are not shown: " in page
    assert "gone.hdf5: no such file" in page
    pictures = [(tmp_path / name / "returns.png").read_bytes() for name in ("with", "without")]
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["candidates=0"], "candidates must be at least 1"),
        (["selection=argmax"], "selection does not apply to a single sample; give candidates=N above 1"),
        (["candidates=1", "temperature=2"], "temperature does not apply to a single sample"),
        (["candidates=4", "selection=argmax", "temperature=2"], "temperature does not apply to selection=argmax"),
        (["candidates=4", "selection=best"], "selection must be softmax or argmax, got best"),
        (["guidance=fk"], "guidance=fk with candidates=1 has nothing to choose from; give candidates=N above 1"),
        (
            ["guidance=trees", "candidates=4"],
            "guidance must be best_of_n, gradient, fk or tree, got trees; did you mean",
        ),
        (["guidance=fk", "candidates=4"], "guidance=fk needs steps that can draw noise"),
        (["guidance=fk", "candidates=4", "eta=0"], "eta must be above 0 and at most 1, got 0"),
        (["candidates=4", "jacobian=exact"], "jacobian does not apply to guidance=best_of_n; give guidance=gradient"),
        (
            ["guidance=gradient", "eta=0.5"],
            "eta does not apply to guidance=gradient; give guidance=fk or guidance=tree",
        ),
        (["guidance=gradient", "selection=argmax"], "selection does not apply to a single sample"),
        (["chains=3", "guidance=gradient"], "guidance does not apply to chains"),
        (["protocol=ofline"], "protocol must be episodes or offline, got ofline; did you mean 'offline'?"),
        (["protocol=offline", "candidates=1"], "protocol=offline measures the single sample anyway"),
        (["protocol=offline", "candidates=0", "noise_scale=0"], "candidates must be at least 1"),
        (["chains=3", "candidates=4"], "candidates does not apply to chains"),
        (["chains=3", "noise_scale=0"], "noise_scale does not apply to chains"),
        (["candidates=4", "noise_scale=0"], "noise_scale=0 makes all 4 candidates the same"),
        (["chains=3", "protocol=offline"], "protocol does not apply to chains"),
    ],
)
def test_mistakes(run: Path, words: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", f"policy.path={run}", f"env.id={ENV}", *words]) == 2
    assert message in capsys.readouterr().err


def test_only_a_run_has_three_numbers(run: Path, tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match="best is no training run with a checkpoint"):
        evaluate_offline(run / "best", ENV, [0])
    shutil.copytree(run, tmp_path / "several" / "seed_0")
    with pytest.raises(LaminarError, match="has the runs of several seeds; evaluate each by itself: seed_0"):
        evaluate_offline(tmp_path / "several", ENV, [0])
    (run / "best" / "best.json").write_text("{}")
    with pytest.raises(LaminarError, match=r"best\.json is damaged"):
        evaluate_offline(run, ENV, [0])


def test_a_guidance_is_recorded_and_has_its_place_in_the_three_numbers(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behavior, "_ACTIONS", 20)
    out = tmp_path / "eval"
    words = ["eval", f"policy.path={run}", f"env.id={ENV}", "episodes=2", "video_episodes=0"]
    assert main([*words, f"out={out}", "guidance=gradient", "temperature=0.5", "strength=2"]) == 0
    assert ", gradient of Q / 0.5 x 2 (identity Jacobian)\n" in capsys.readouterr().out
    stored = json.loads((out / "eval.json").read_text())
    assert stored["acting"] == {
        **{"candidates": 1, "selection": None, "temperature": 0.5, "noise_scale": 1.0},
        **{"guidance": "gradient", "jacobian": "identity", "strength": 2.0},
    }
    assert stored["network_calls"] == 1
    assert load_result(out).acting == Acting(guidance="gradient", temperature=0.5, strength=2.0)
    assert "acting: gradient of Q / 0.5 x 2 (identity Jacobian)" in (out / "report.md").read_text()
    found = evaluate_offline(run, ENV, range(2), acting=Acting(guidance="gradient", temperature=0.5, strength=2.0))
    assert found.numbers["candidates_last"].returns == load_result(out).returns
    assert found.numbers["single_last"].acting == found.numbers["best"].acting == Acting()
