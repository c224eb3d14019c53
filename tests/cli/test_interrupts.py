"""Ctrl-C: exit code 130, what is complete is kept and marked, and nothing else is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from laminar.cli import main
from laminar.eval.results.result import load_result
from laminar.eval.rollouts.offline import load_offline

SCRIPT = Path(__file__).with_name("interrupted.py")
MAZE = "env.id=laminar/PointMaze-v0"


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "maze.hdf5"
    assert main(["collect", "task=pointmaze", "episodes=3", f"out={file}"]) == 0
    return file


@pytest.fixture(scope="module")
def run(demonstrations: Path) -> Path:
    out = demonstrations.parent / "run"
    small = ["network.width=16", "method.batch_size=8", "steps=2"]
    assert main(["train", "method=bc", "policy=flow", *small, f"data.path={demonstrations}", f"out={out}"]) == 0
    return out


def interrupted(after: int, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(after), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def evaluation(run: Path, out: Path, *more: str) -> list[object]:
    return ["eval", f"policy.path={run}", MAZE, "episodes=6", "num_envs=2", "video_episodes=0", f"out={out}", *more]


def test_eval_keeps_the_finished_episodes(run: Path, tmp_path: Path) -> None:
    found = interrupted(2, *evaluation(run, tmp_path / "eval"))
    assert found.returncode == 130
    assert found.stderr.strip() == f"laminar: interrupted: 2 of 6 are finished, and kept in {tmp_path / 'eval'}"
    assert "interrupted: 2 of 6 episodes were finished" in found.stdout
    stored = json.loads((tmp_path / "eval/eval.json").read_text())
    assert stored["interrupted"] == {"finished": 2, "planned": 6}
    assert "interrupted: 2 of 6" in (tmp_path / "eval/report.md").read_text()
    part = load_result(tmp_path / "eval")
    assert (part.planned, len(part.episodes)) == (6, 2)
    assert main([str(word) for word in evaluation(run, tmp_path / "whole")]) == 0
    whole = load_result(tmp_path / "whole")
    assert whole.to_json()["interrupted"] is None
    assert not any("interrupted" in remark for remark in whole.remarks)
    same = {episode.seed: episode for episode in whole.episodes}
    assert all(same[episode.seed] == episode for episode in part.episodes)


def test_eval_without_a_finished_episode_writes_nothing(run: Path, tmp_path: Path) -> None:
    found = interrupted(0, *evaluation(run, tmp_path / "eval"))
    assert found.returncode == 130
    assert found.stderr.strip() == "laminar: interrupted before anything was finished; nothing was measured"
    assert found.stdout == ""
    assert not (tmp_path / "eval").exists()


def test_the_offline_protocol_keeps_whole_numbers(run: Path, tmp_path: Path) -> None:
    found = interrupted(4, *evaluation(run, tmp_path / "eval", "protocol=offline"))
    assert found.returncode == 130
    kept = load_offline(tmp_path / "eval")
    assert kept.last.to_json()["interrupted"] == {"finished": 4, "planned": 6}


@pytest.mark.parametrize(("after", "pairs"), [(2, 0), (7, 1)])
def test_compare_keeps_the_finished_pairs(after: int, pairs: int, run: Path, tmp_path: Path) -> None:
    found = interrupted(after, "compare", run, run, MAZE, "episodes=6", f"out={tmp_path / 'both'}")
    assert found.returncode == 130
    if not pairs:
        assert "interrupted while A was evaluated; there is nothing to compare" in found.stderr
        assert not (tmp_path / "both").exists()
        return
    stored = json.loads((tmp_path / "both/compare.json").read_text())
    finished, (first, second) = stored["interrupted"]["finished"], stored["policies"]
    assert stored["interrupted"]["planned"] == 6
    assert [e["seed"] for e in first["episodes"]] == [e["seed"] for e in second["episodes"]]
    assert finished == len(first["episodes"]) < 6
    assert f"Interrupted: {finished} of 6 pairs were finished" in found.stdout


def test_compare_keeps_the_policies_that_are_whole(run: Path, tmp_path: Path) -> None:
    found = interrupted(7, "compare", run, run, run, MAZE, "episodes=3", f"out={tmp_path / 'all'}")
    assert found.returncode == 130
    assert "interrupted while C was evaluated; A and B are compared" in found.stderr
    stored = json.loads((tmp_path / "all/compare.json").read_text())
    assert (stored["names"], stored["left_out"]) == (["A", "B"], ["C"])
    assert [len(one["episodes"]) for one in stored["policies"]] == [3, 3]
    assert "interrupted: C left out" in (tmp_path / "all/compare.md").read_text()


@pytest.mark.parametrize("task", ["pointmaze", "playroom/open_drawer"])
def test_collect_keeps_complete_episodes(task: str, tmp_path: Path) -> None:
    file = tmp_path / "demos.hdf5"
    found = interrupted(2, "collect", f"task={task}", "episodes=5", f"out={file}")
    assert found.returncode == 130
    assert f"interrupted: 2 of 5 episodes are kept; {file}: 2 episodes" in found.stderr
    whole = tmp_path / "two.hdf5"
    assert main(["collect", f"task={task}", "episodes=2", f"out={whole}"]) == 0
    with h5py.File(file) as kept, h5py.File(whole) as wanted:
        assert (kept["actions"][:] == wanted["actions"][:]).all()


def test_collect_without_a_complete_episode_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "demos.hdf5"
    found = interrupted(0, "collect", "task=pointmaze", "episodes=5", f"out={file}")
    assert found.returncode == 130
    assert found.stderr.strip().endswith(f"nothing was written to {file}")
    assert not file.exists()


def started(words: list[object], tmp_path: Path) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, in which SIGINT is what it is in a terminal."""
    lines = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from laminar.cli import main; "
    )
    command = [sys.executable, "-c", f"{lines}sys.exit(main(sys.argv[1:]))", *map(str, words)]
    streams = {"stdout": subprocess.PIPE, "stderr": (tmp_path / "err").open("w")}
    return subprocess.Popen(command, text=True, start_new_session=True, **streams)


def test_train_exits_with_130_and_the_next_command_does_not_run(demonstrations: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", "method=bc", "policy=flow", "network.width=16", "method.batch_size=8", "steps=1000000"]
    child = started([*words, "log_every=10", f"data.path={demonstrations}", f"out={out}"], tmp_path)
    rows, end = out / "metrics.jsonl", time.monotonic() + 120
    while not (rows.exists() and rows.read_text().count("\n") > 2):
        assert child.poll() is None, (tmp_path / "err").read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGINT)
    told, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert told.strip().endswith("resume=true")
    assert list((out / "checkpoints").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["parent", "group"])
def test_workers_hand_in_what_they_have_finished(whom: str, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    words = evaluation(run, out, "processes=2")
    words[3] = "episodes=100000"
    child = started(words, tmp_path)
    time.sleep(40)  # two workers import, and then finish some episodes a second
    (os.killpg if whom == "group" else os.kill)(child.pid, signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130, (tmp_path / "err").read_text()
    stored = json.loads((out / "eval.json").read_text())
    assert 0 < stored["interrupted"]["finished"] == len(stored["episodes"]) < 100_000
