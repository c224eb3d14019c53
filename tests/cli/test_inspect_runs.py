"""`laminar inspect RUN`: what a policy is, what it learned from, how it did, and what to do next."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from laminar.cli import main
from laminar.policies import load_policy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspected")
    data, out = folder / "maze.hdf5", folder / "run"
    small = ["network.width=16", "method.batch_size=8", "steps=20", "log_every=10", "checkpoint_every=10"]
    assert main(["collect", "task=pointmaze", "episodes=3", f"out={data}"]) == 0
    words = ["train", "method=bc", "policy=flow", "task=pointmaze", *small, f"data.path={data}", f"out={out}"]
    assert main(words) == 0
    return out


def inspected(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["inspect", str(path)]) == 0
    return capsys.readouterr().out


def test_a_run_tells_what_it_is_and_what_to_do(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = inspected(run, capsys)
    parameters = sum(one.numel() for one in load_policy(run).parameters())
    assert text.startswith(f"{run} (policy)\n  weights    newest checkpoint of {run}, after 20 updates\n")
    assert f"generative, process flow, network mlp; {parameters:,} parameters, 10 network calls a chunk" in text
    assert "  sees       'observation' (6,) float32" in text
    assert f"  training   method bc, data {run.parent / 'maze.hdf5'}, env laminar/PointMaze-v0, seed 0" in text
    assert "  updates    20 of 20" in text
    assert "checkpoints: step_00000010, step_00000020" in text
    assert "  log        loss " in text
    assert f"  next       laminar eval policy.path={run} env.id=laminar/PointMaze-v0 out={run}/eval" in text
    assert "resume" not in text


def test_what_it_says_to_do_works(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split()[1:] for line in inspected(run, capsys).splitlines() if line.startswith("  next")]
    (evaluate,) = [line for line in lines if line[1] == "eval"]
    assert main([*evaluate[1:], "episodes=2", "video_episodes=0"]) == 0
    assert "  evaluated  return " in inspected(run, capsys) or "  evaluated  success " in inspected(run, capsys)
    assert main(["inspect", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["evaluations"][0]["env"] == "laminar/PointMaze-v0"
    assert found["training"]["steps"] == found["training"]["of"] == 20
    assert (found["chunk"], found["parts"]) == (load_policy(run).spec.chunk, ["generative"])


def test_a_checkpoint_and_a_saved_policy_are_inspected(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "older checkpoint" in inspected(run / "checkpoints/step_00000010", capsys)
    saved = load_policy(run).save(tmp_path / "saved")
    text = inspected(saved, capsys)
    assert "saved policy" in text
    assert "training" not in text
    assert f"laminar replay policy.path={saved} data.path=FILE" in text
    assert "env.id=ENVIRONMENT" in text


def test_a_run_that_was_stopped_says_how_to_go_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"
    shutil.copytree(run, begun, ignore=shutil.ignore_patterns("step_00000020", "eval*"))
    assert f"  next       laminar train out={begun} resume=true" in inspected(begun, capsys)
    shutil.rmtree(begun / "checkpoints")
    text = inspected(begun, capsys)
    assert text.startswith(f"{begun} (run without a checkpoint)\n")
    assert f"  next       laminar train out={begun} resume=true" in text
    assert "laminar eval" not in text


def test_a_damaged_run_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "checkpoints/step_00000020/config.json").write_text("{")
    capsys.readouterr()
    assert main(["inspect", str(damaged)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "config.json" in line


def test_a_run_json_of_another_kind_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    for content in ('{"method": 3}', "[]", "{", '{"record": [1]}'):
        (damaged / "run.json").write_text(content)
        capsys.readouterr()
        assert main(["inspect", str(damaged)]) == 2, content
        (line,) = capsys.readouterr().err.splitlines()
        assert "run.json" in line
