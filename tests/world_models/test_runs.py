"""World models, and policies improved in them, by the ordinary command: what is learned, logged and resumed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import laminar
from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.eval.results.run_record import read_rows
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.storage import checkpoints
from laminar.world_models import load_world
from laminar.world_models.success import Success

from ..train.saved import assert_same, final, rows

ERROR = "validation/open_loop_error"


def cut(run: Path, copy: Path) -> Path:
    """Copy a run as if it had been killed before its last checkpoint."""
    shutil.copytree(run, copy)
    shutil.rmtree(checkpoints(copy)[-1])
    return copy


def test_a_world_model_is_closer_than_who_knows_nothing(files: Any) -> None:
    told = [row for row in rows(files.world) if ERROR in row]
    assert [row["step"] for row in told] == [100, 200]
    assert told[-1][ERROR] < 0.75 * told[-1][f"{ERROR}/persistence"]
    assert {f"validation/open_loop/observation {number}" for number in range(3)} <= told[-1].keys()
    assert "validation/event_recall/observation 2" in told[-1], "the lamp went on, or off"
    logged = [row for row in rows(files.world) if "loss" in row]
    assert {"loss", "kl", "loss/numbers"} <= logged[-1].keys()
    assert logged[-1]["loss/numbers"] < logged[0]["loss/numbers"]


def test_a_world_model_that_is_resumed_ends_the_same(files: Any, tmp_path: Path) -> None:
    again = cut(files.world, tmp_path / "cut")
    words = files.learning("steps=200", "resume=true", out="world")
    assert main([f"out={again}" if word.startswith("out=") else word for word in words]) == 0
    assert_same(final(files.world), final(again))
    drop = {"wall_seconds", "cpu_seconds"}
    mine, theirs = (
        [{k: v for k, v in row.items() if k not in drop} for row in rows(run)] for run in (files.world, again)
    )
    assert mine == theirs


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_world_model_that_is_killed_ends_the_same(files: Any) -> None:
    run = files.folder / "killed"
    words = files.learning("steps=200", "resume=true", "checkpoint_every=20", "log_every=1", out="killed")
    process = subprocess.Popen([sys.executable, "-m", "laminar.cli", *words])
    end = time.monotonic() + 120
    while len(read_rows(run / "metrics.jsonl")) < 70:
        assert process.poll() is None
        assert time.monotonic() < end, "took too long"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert main(words) == 0
    assert_same(final(run), final(files.world))


def test_seeds_learn_as_each_alone(files: Any) -> None:
    short = ("steps=40", "checkpoint_every=40", "log_every=20")
    assert main(files.learning(*short, "seeds=[0,1]", out="both")) == 0
    for seed in (0, 1):
        assert main(files.learning(*short, f"seed={seed}", out=f"alone_{seed}")) == 0
        mine, theirs = final(files.folder / "both" / f"seed_{seed}"), final(files.folder / f"alone_{seed}")
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_compiled_update_is_the_same(files: Any) -> None:
    short = ("steps=10", "checkpoint_every=10", "log_every=5", "method.length=5")
    assert main(files.learning(*short, out="eager")) == 0
    assert main(files.learning(*short, "runtime.compiled=true", out="compiled")) == 0
    mine, theirs = final(files.folder / "eager"), final(files.folder / "compiled")
    for name, value in mine.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-2, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("keys", ["[rgb]", "[rgb,state]"])
def test_a_world_of_pictures_is_measured(files: Any, pictured: Callable[..., Episodes], keys: str) -> None:
    seen = files.folder / "pictured.hdf5"
    d4rl.write(seen, pictured(32, 32, steps=60, episodes=4))
    words = [word for word in files.learning(out=f"pictures_{keys}") if not word.startswith("data.path=")]
    short = (
        "method.length=4",
        "method.model.context=2",
        "method.batch_size=2",
        "steps=2",
        "log_every=1",
        f"data.observation={keys}",
    )
    assert main([*words, f"data.path={seen}", *short]) == 0
    (told,) = [row for row in rows(files.folder / f"pictures_{keys}") if ERROR in row]
    assert {"validation/open_loop/rgb", "validation/open_loop/rgb/persistence", f"{ERROR}/persistence"} <= told.keys()
    assert (f"{ERROR}/ridge" in told) == ("state" in keys)


@pytest.mark.parametrize("method", ["diwa", "dsrl"])
def test_policies_are_improved_in_dreams(
    files: Any, method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a simulator was made")

    monkeypatch.setattr("laminar.train.run.build.Slots", refuse)
    monkeypatch.setattr("laminar.train.run.build.WorkerSlots", refuse)
    run = files.folder / method
    assert main(files.dreaming(method, out=method)) == 0
    logged = [row for row in rows(run) if "loss" in row]
    assert {"env_steps", "episodes", "train_return", "train_success"} <= logged[-1].keys()
    assert np.isfinite(logged[-1]["loss"])
    policy = load_policy(run)
    assert policy.checkpoint_hash() != load_policy(files.clone).checkpoint_hash()
    told = capsys.readouterr().err
    assert "what counts as success, wholly imagined, of held-out recordings: precision" in told
    assert f"learns from dreams in {files.world} that begin in some of 20 episodes" in told
    again = cut(run, files.folder / f"{method}_cut")
    assert main(files.dreaming(method, "resume=true", out=again.name)) == 0
    assert_same(final(run), final(again))


def test_a_world_stays_as_it_was(files: Any) -> None:
    before = {name: value.clone() for name, value in load_world(files.world).state_dict().items()}
    run = laminar.train(
        method={"name": "diwa", "iterations": 2, "chunks": 5, "epochs": 1},
        init=files.clone,
        world={"path": files.world, "slots": 4, "horizon": 20, "success": {"updates": 50, "width": 16}},
        data=files.demonstrations,
        out=files.folder / "python",
    )
    assert isinstance(load_policy(run), GenerativePolicy)
    after = load_world(files.world).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("wrong", [False, True])
def test_a_classifier_that_is_wrong_shows(
    files: Any, registered_room: ModuleType, wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that goes the wrong way: where all that is dreamed counts as success, dream and simulator part."""
    said: list[int] = []

    def after_the_first(self: Success, features: torch.Tensor) -> torch.Tensor:
        said.append(len(features))
        return torch.full((len(features),), len(said) > 1)  # starts are none

    if wrong:
        monkeypatch.setattr(Success, "forward", after_the_first)
    run = files.folder / f"wrong_{wrong}"
    more = (f"init={files.astray}", f"env.id={registered_room.ENV_ID}", "evaluation.every=4", "evaluation.episodes=5")
    words = [word for word in files.dreaming("diwa", out=run.name) if not word.startswith("init=")]
    assert main([*words, *more]) == 0
    seen = rows(run)
    dreamed = [row["train_success"] for row in seen if "train_success" in row][-1]
    real = [row["eval/success_rate"] for row in seen if "eval/success_rate" in row][-1]
    assert real == 0
    assert dreamed == (1 if wrong else pytest.approx(0, abs=0.1))


def test_what_a_policy_never_meets_is_not_held_against_its_range(
    files: Any, room: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recordings of dreams show other skills too; a dream begins only in those of its own."""
    wider, shown = files.folder / "wider.hdf5", room.demonstrations()
    d4rl.write(wider, replace(shown, action=np.clip(3 * shown.action, -1, 1)))
    words = [word for word in files.dreaming("diwa", "method.iterations=1", out="wider") if "data.path" not in word]
    capsys.readouterr()
    assert main([*words, f"data.path={wider}"]) == 0
    assert "is normalized by" not in capsys.readouterr().err
