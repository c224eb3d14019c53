"""The loop around Q-learning: exact resumes, divergence, a start from a clone, the best policy."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.eval.results.findings import Findings
from laminar.eval.results.run_record import DIVERGED
from laminar.policies import load_policy
from laminar.policies.guided import Guided
from laminar.policies.storage import checkpoints, read_json
from laminar.train.methods.q_learning import QLearning
from laminar.train.run import checkpoint, seed_run, trainer
from laminar.train.run.checkpoint import Best, read_best, save_best
from laminar.train.run.logs import read_rows

STEPS = 20
SMALL = ("network.width=16", "method.critic.width=16", "method.batch_size=8")


def command(data: Path, out: Path, *more: str, method: str = "ofql") -> list[str]:
    lengths = (f"steps={STEPS}", "log_every=4", "checkpoint_every=8")
    small = SMALL if method != "bc" else ("network.width=16",)
    small = small if not any(word.startswith("init=") for word in more) else small[1:]
    return ["train", f"method={method}", f"data.path={data}", f"out={out}", *small, *lengths, *more]


def final_files(run: Path) -> list[bytes]:
    folder = run / "checkpoints" / f"step_{STEPS:08d}"
    return [(folder / name).read_bytes() for name in ("model.safetensors", "train.safetensors")]


def at_update(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[QLearning], None]) -> None:
    """Do something within the run, before an update."""
    update = QLearning.update

    def patched(self: QLearning, now: int) -> Any:
        if now == step:
            act(self)
        return update(self, now)

    monkeypatch.setattr(QLearning, "update", patched)


@pytest.mark.parametrize("method", ["dql", "ofql"])
def test_q_learning_resumes_to_the_bit(
    method: str,
    rewarded_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    numbers: Any,
) -> None:
    assert main(command(rewarded_file, tmp_path / "whole", method=method)) == 0
    resumed = Path(shutil.copytree(tmp_path / "whole", tmp_path / "resumed"))
    shutil.rmtree(checkpoints(resumed)[-1])
    assert main(command(rewarded_file, resumed, "resume=true", method=method)) == 0
    assert final_files(resumed) == final_files(tmp_path / "whole")
    with monkeypatch.context() as patch:
        at_update(patch, 12, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        assert main(command(rewarded_file, tmp_path / "stopped", method=method)) == 143
    assert checkpoints(tmp_path / "stopped")[-1].name == "step_00000013"
    assert main(command(rewarded_file, tmp_path / "stopped", "resume=true", method=method)) == 0
    assert final_files(tmp_path / "stopped") == final_files(tmp_path / "whole")
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "resumed")


def test_rows_of_updates_without_the_actor(rewarded_file: Path, tmp_path: Path) -> None:
    assert main(command(rewarded_file, tmp_path / "run", "log_every=1", method="td3bc")) == 0
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert ["loss" in row for row in rows] == [True, False] * (STEPS // 2)
    assert all("critic_loss" in row for row in rows)


def test_divergence_tells_when_how_and_what_is_left(
    rewarded_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ("method.lr=1e6", "method.critic_lr=1e6", "method.max_grad_norm=null", "log_every=1", "checkpoint_every=1")
    assert main(command(rewarded_file, tmp_path / "run", *wild)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert 0 < len(rows) < STEPS, "it diverges, but not at once"
    assert f"at update {len(rows) + 1}: " in error
    for name in ("q", "critic_loss", "critic_grad_norm", "actor_grad_norm"):
        assert f"{name} {rows[-1][name]:.4g}" in error, "the last good numbers"
    assert "lower method.lr" in error
    kept = checkpoints(tmp_path / "run")
    assert str(kept[-1]) in error
    assert all(value.isfinite().all() for value in load_policy(kept[-1]).state_dict().values())


def test_a_run_that_diverged_says_so_until_it_goes_on(
    rewarded_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`laminar table` tells it from one that was stopped."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_update(patch, 12, lambda method: method.program.state["critic"].fill_(torch.nan))
        assert main(command(rewarded_file, run)) == 2
    assert " is nan at update 13" in read_json(run / DIVERGED)["told"]
    assert main(command(rewarded_file, run, "resume=true")) == 0
    assert not (run / DIVERGED).exists()


def test_weights_that_are_not_finite_reach_no_checkpoint(
    rewarded_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    update = QLearning.update

    def spoil(self: QLearning, step: int) -> Any:  # the loss of the same update was still good
        metrics = update(self, step)
        if step == 15:
            self.program.state["actor"].fill_(torch.inf)
        return metrics

    monkeypatch.setattr(QLearning, "update", spoil)
    assert main(command(rewarded_file, tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert "actor is not finite after update 16" in error
    assert [folder.name for folder in checkpoints(tmp_path / "run")] == ["step_00000008"]
    assert read_json(tmp_path / "run" / DIVERGED)["told"] == "actor is not finite after update 16"


@pytest.fixture(scope="module")
def clone(rewarded_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of behavior cloning with another process and width than the methods' own."""
    run = tmp_path_factory.mktemp("clone") / "run"
    words = ["policy=flow", "policy.observation_normalizer=minmax"]
    assert main(command(rewarded_file, run, *words, method="bc")) == 0
    return run


def test_a_clone_is_where_improvement_starts(clone: Path, rewarded_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    frozen = ("method.lr=1e-12", "method.ema_start=100")
    assert main(command(rewarded_file, run, f"init={clone}", *frozen)) == 0
    improved, cloned = load_policy(run), load_policy(clone)
    assert isinstance(improved, Guided)
    assert improved.composed_of.config == cloned.config
    for name, value in cloned.state_dict().items():
        torch.testing.assert_close(improved.composed_of.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)
    assert improved.critic is not None
    settings = json.loads((run / "run.json").read_text())
    assert settings["policy"]["process"]["name"] == "flow"
    assert settings["network"]["width"] == 16
    # what was improved is a start too: its critic is left behind
    assert main(command(rewarded_file, tmp_path / "again", f"init={run}")) == 0
    names = load_policy(tmp_path / "again").state_dict().keys()
    assert names == improved.state_dict().keys()


def test_a_start_from_a_clone_resumes_to_the_bit(clone: Path, rewarded_file: Path, tmp_path: Path) -> None:
    words = command(rewarded_file, tmp_path / "whole", f"init={checkpoints(clone)[-1]}")
    assert main(words) == 0
    resumed = Path(shutil.copytree(tmp_path / "whole", tmp_path / "resumed"))
    shutil.rmtree(checkpoints(resumed)[-1])
    assert main([word for word in words if not word.startswith("out=")] + [f"out={resumed}", "resume=true"]) == 0
    assert final_files(resumed) == final_files(tmp_path / "whole")


@pytest.mark.parametrize("word", ["policy=flow", "network=mlp", "network.width=16", "policy.chunk=2"])
def test_init_brings_its_own_policy(
    word: str, clone: Path, rewarded_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(rewarded_file, tmp_path / "run", f"init={clone}", word)) == 2
    assert f"brings its own policy and network; leave out {word}" in capsys.readouterr().err


def test_init_fits_the_data(
    clone: Path, rewarded: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = {"observation": np.concatenate([rewarded.observation["observation"]] * 2, axis=1)}
    final = {"observation": np.concatenate([rewarded.final_observation["observation"]] * 2, axis=1)}
    fields = {name: getattr(rewarded, name) for name in ("action", "reward", "terminated", "truncated", "ends")}
    features = {"observation": type(rewarded.spec.action)((6,))}
    spec = type(rewarded.spec)(features, rewarded.spec.action, (-1.0, -1.0), (1.0, 1.0))
    d4rl.write(tmp_path / "wide.hdf5", Episodes(observation=wide, final_observation=final, spec=spec, **fields))
    assert main(command(tmp_path / "wide.hdf5", tmp_path / "run", f"init={clone}")) == 2
    error = capsys.readouterr().err
    assert f"observation 'observation' has shape (3,) for the policy of init={clone}" in error
    assert "(6,)" in error
    assert main(command(tmp_path / "wide.hdf5", tmp_path / "run", f"init={tmp_path / 'nothing'}")) == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


SCORES = {5: 1.0, 10: 3.0, 15: 2.0, 20: 3.0}


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[int, float]]:
    """Replace evaluations by a list of scores for each metric; return metric -> update -> score, to be changed."""
    scores: dict[str, dict[int, float]] = {
        "mean_return": {k: -v for k, v in SCORES.items()},
        "normalized_score": SCORES,
    }

    def evaluate(policy: Any, env_id: str, seeds: list[int], **options: Any) -> Any:
        assert (env_id, seeds) == ("some-v0", [10_000, 10_001])
        learner, step = now[-1][0], now[-1][1] + 1
        assert policy is learner.product(), "what is measured is what is deployed and saved"
        figures = {"mean_return": None, "success_rate": None, "normalized_score": None}
        figures |= {name: SimpleNamespace(mean=of[step]) for name, of in scores.items()}
        return SimpleNamespace(**figures, findings=Findings())

    now: list[tuple[QLearning, int]] = []
    update = QLearning.update
    monkeypatch.setattr(QLearning, "update", lambda self, step: (now.append((self, step)), update(self, step))[1])
    monkeypatch.setattr(seed_run, "evaluate", evaluate)
    monkeypatch.setattr(trainer, "check_environment", lambda config, policy, recorded: [])
    return scores


EVALUATED = ("env.id=some-v0", "evaluation.every=5", "evaluation.episodes=2")


def test_the_best_policy_is_kept(scored: Any, rewarded_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(command(rewarded_file, run, *EVALUATED)) == 0
    assert json.loads((run / "best" / "best.json").read_text()) == {
        "step": 10,  # the first of two equals
        "metric": "normalized_score",
        "value": 3.0,
    }
    rows = [row["eval/normalized_score"] for row in read_rows(run / "metrics.jsonl") if "eval/normalized_score" in row]
    assert rows == [1.0, 3.0, 2.0, 3.0]
    assert load_policy(run / "best").checkpoint_hash() != load_policy(run).checkpoint_hash()
    assert load_policy(run).checkpoint_hash() == load_policy(checkpoints(run)[-1]).checkpoint_hash()
    # the policy of that very update
    assert main([*command(rewarded_file, tmp_path / "ten"), "checkpoint_every=10"]) == 0
    ten = load_policy(checkpoints(tmp_path / "ten")[0])
    assert load_policy(run / "best").checkpoint_hash() == ten.checkpoint_hash()


@pytest.mark.parametrize(("metric", "best"), [("success_rate", 10), ("mean_return", 5)])
def test_the_metric_of_the_best(metric: str, best: int, scored: Any, rewarded_file: Path, tmp_path: Path) -> None:
    del scored["normalized_score"]
    if metric == "success_rate":
        scored["success_rate"] = SCORES
    assert main(command(rewarded_file, tmp_path / "run", *EVALUATED)) == 0
    found = read_best(tmp_path / "run")
    assert found is not None
    assert (found.step, found.metric) == (best, metric.removeprefix("mean_"))


def test_the_best_survives_a_resume(scored: Any, rewarded_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = command(rewarded_file, run, *EVALUATED)
    assert main(words) == 0
    before = load_policy(run / "best").checkpoint_hash()
    shutil.rmtree(checkpoints(run)[-1])
    (run / "best").rename(run / ".best.previous")  # a kill between the two renames of a write
    assert main([*words, "resume=true"]) == 0
    found = read_best(run)
    assert found == Best(10, "normalized_score", 3.0)
    assert load_policy(run / "best").checkpoint_hash() == before


def test_a_failed_write_leaves_the_best(
    learner: Callable[..., QLearning], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_best(tmp_path) is None
    policy = learner("ofql").product()
    save_best(tmp_path, policy, Best(1, "return", 2.0))
    monkeypatch.setattr(checkpoint, "write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(Exception, match="No space left"):
        save_best(tmp_path, policy, Best(2, "return", 3.0))
    assert read_best(tmp_path) == Best(1, "return", 2.0)
