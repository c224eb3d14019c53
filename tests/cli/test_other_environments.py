"""The command line in environments of other people: trained from a file, evaluated, compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.cli import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return demonstrations with two observations, a scalar among them, and actions of deviation 1."""
    return record(tmp_path / "demos.hdf5", {"arm/joints": (3,), "height": ()})


def record(path: Path, shown: dict[str, tuple[int, ...]]) -> Path:
    """Write demonstrations of 5 episodes with observations {key: shape}; the key "" is of a lone array."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as data:
        for key, shape in shown.items():
            data[f"observations/{key}".rstrip("/")] = rng.normal(size=(100, *shape)).astype("f")
        data["actions"] = rng.normal(size=(100, 2)).astype("f")
        data["rewards"], data["terminals"] = np.zeros(100, "f"), np.zeros(100, bool)
        data["timeouts"] = np.arange(100) % 20 == 19
    return path


def train(file: Path, out: Path, *more: str) -> int:
    small = ["network.width=16", "method.batch_size=8", "steps=4", "log_every=2"]
    return main(["train", "method=bc", "policy=flow", *small, f"data.path={file}", f"out={out}", *more])


def test_more_keys_than_the_data_have(
    strangers: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scalar and a nested entry are learned; a scalar, a text and a number of a gear stay unseen."""
    run, out = tmp_path / "run", tmp_path / "eval"
    env = "env.id=strangers:Mixed-v0"
    chosen = "data.observation=[height,arm/joints]"
    assert train(file, run, env, chosen, "evaluation.every=4", "evaluation.episodes=2") == 0
    assert "also shows 'arm/grip', 'gear', 'mission', which the policy was not trained on" in capsys.readouterr().err
    assert main(["eval", f"policy.path={run}", env, "episodes=2", f"out={out}", "video_episodes=0"]) == 0
    assert "also shows 'arm/grip', 'gear', 'mission'" in capsys.readouterr().out
    assert json.loads((out / "eval.json").read_text())["unseen_observations"] == ["arm/grip", "gear", "mission"]


def test_what_cannot_draw_is_evaluated_without_a_film(
    strangers: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "eval"
    assert train(file, run, "data.observation=[arm/joints]") == 0
    words = ["eval", f"policy.path={run}", "env.id=strangers:Mixed-v0", "episodes=2", f"out={out}"]
    assert main(words) == 0
    assert "Mixed-v0 draws none: render()" in capsys.readouterr().err
    assert (out / "report.md").is_file()
    assert not (out / "episodes.mp4").exists()
    here = json.loads((out / "eval.json").read_text())
    assert main([*words, "processes=2"]) == 0, "nor do workers"
    there = json.loads((out / "eval.json").read_text())
    assert there["episodes"] == here["episodes"]
    assert there["clipped_actions"]["clipped_steps"] == here["clipped_actions"]["clipped_steps"] > 0


def test_actions_of_the_data_and_of_the_policy_are_held_against_the_limits(
    strangers: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    env = ["env.id=strangers:Mixed-v0", "data.observation=[arm/joints]", "evaluation.every=2", "evaluation.episodes=2"]
    assert train(file, run, *env) == 0
    out = capsys.readouterr().err
    assert "note: actions of the data are outside of the limits of 'strangers:Mixed-v0', where they will be clip" in out
    assert "where 1 is the limit" in out
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shares = [row["eval/clipped_share"] for row in rows if "eval/clipped_share" in row]
    assert len(shares) == 2
    assert all(0 < share <= 1 for share in shares)


def test_a_training_looks_at_the_starts_once(
    strangers: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from laminar.eval.rollouts import here

    looked: list[object] = []
    check = here.check_starts

    def counted(env: Any, env_id: str, seeds: Sequence[int]) -> Any:
        looked.append(seeds)
        return check(env, env_id, seeds)

    monkeypatch.setattr(here, "check_starts", counted)
    env = ["env.id=strangers:Mixed-v0", "data.observation=[arm/joints]", "evaluation.every=2", "evaluation.episodes=2"]
    assert train(file, tmp_path / "run", *env, "seeds=[0,1]") == 0
    for seed in (0, 1):
        rows = (tmp_path / "run" / f"seed_{seed}" / "metrics.jsonl").read_text().splitlines()
        assert sum("eval/return" in row for row in rows) == 2
    assert len(looked) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("OldStep-v0", "step() of environment 'strangers:OldStep-v0' returned 4 values"),
        ("Unseeded-v0", "takes no argument 'seed'"),
        ("Legacy-v0", "choose a smaller seed"),
    ],
)
def test_old_interfaces_are_mistakes_in_the_input(
    strangers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, line: str
) -> None:
    """One line, not the traceback of a bug."""
    assert train(record(tmp_path / "demos.hdf5", {"": (3,)}), tmp_path / "run") == 0
    capsys.readouterr()
    words = [f"policy.path={tmp_path / 'run'}", f"env.id=strangers:{name}", "episodes=1", "video_episodes=0"]
    assert main(["eval", *words, f"seed={2**32}", f"out={tmp_path / 'eval'}"]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert line in told[-1]
    assert not any("Traceback" in one or "bug" in one for one in told)


def test_what_no_policy_can_see_is_in_nobodys_way(strangers: str, tmp_path: Path) -> None:
    """Sequences, tuples, graphs and objects beside what it sees: evaluated and reported, with pictures."""
    run, out = tmp_path / "run", tmp_path / "eval"
    assert train(record(tmp_path / "demos.hdf5", {"place": (3,)}), run) == 0
    words = [f"policy.path={run}", "env.id=strangers:Unseen-v0", "episodes=2", "video_episodes=0", f"out={out}"]
    assert main(["eval", *words]) == 0
    assert json.loads((out / "eval.json").read_text())["unseen_observations"] == ["events", "graph", "pair", "thing"]
    assert (out / "chunks.png").is_file()
