"""What a run tells: what it trains and where, and each evaluation with its interval."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from laminar.cli import main
from laminar.eval.results.scores import Interval, wilson
from laminar.policies import load_policy
from laminar.train.run.account import evaluated
from laminar.train.run.checkpoint import Best

MAZE = ("env.id=laminar/PointMaze-v0", "evaluation.every=2", "evaluation.episodes=3")


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("maze") / "maze.hdf5"
    assert main(["collect", "task=pointmaze", "episodes=2", f"out={file}"]) == 0
    return file


def words(maze: Path, out: Path, *more: str) -> list[str]:
    small = ("network.width=16", "method.batch_size=8", "steps=4", "checkpoint_every=2")
    return ["train", "method=bc", "policy=flow", *small, f"data.path={maze}", f"out={out}", *more]


def test_the_line_of_an_evaluation() -> None:
    figures = {"return": Interval(3.5, 2.0, 5.0), "success_rate": wilson(16, 20), "normalized_score": None}
    assert (
        evaluated(5000, figures, "success_rate", 20, Best(5000, "success_rate", 0.8))
        == "update 5000: success 0.8 [0.584, 0.9193] of 20 episodes, return 3.5 [2, 5]; best so far"
    )
    assert evaluated(5000, figures, "success_rate", 20, Best(4000, "success_rate", 0.9)).endswith(
        "; best is success 0.9 of update 4000"
    )


def test_a_run_tells_where_it_is_and_its_results(maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "a run"
    capsys.readouterr()
    assert main(words(maze, out, *MAZE)) == 0
    printed = capsys.readouterr()
    size = sum(weight.numel() for weight in load_policy(out).parameters())
    first, second = printed.err.splitlines()[-2:]
    assert re.fullmatch(
        rf"method=bc policy=flow network=mlp \({size:,} parameters\) learns from 2 episodes \(\d+ steps\), "
        "on cpu with 1 thread",
        first,
    )
    assert second == f"run in {out}; its curves: tensorboard --logdir '{out}'"
    *results, last = printed.out.splitlines()
    assert [result.partition(":")[0] for result in results] == ["update 2", "update 4"]
    assert all(re.search(r"success \S+ \[\S+, \S+\] of 3 episodes, return ", result) for result in results)
    assert last == f"trained policy in {out}"


def test_a_resumed_run_tells_from_where_and_repeats_nothing(
    maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "run"
    assert main(words(maze, out, *MAZE)) == 0
    for name in ("step_00000004",):
        folder = out / "checkpoints" / name
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    capsys.readouterr()
    assert main(words(maze, out, *MAZE, "resume=true")) == 0
    printed = capsys.readouterr()
    assert f"run in {out}, resumed after update 2 of 4, best success " in printed.err
    assert [line.partition(":")[0] for line in printed.out.splitlines()] == ["update 4", f"trained policy in {out}"]


def test_seeds_that_train_together_tell_whose_result_it_is(
    maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    capsys.readouterr()
    assert main(words(maze, tmp_path / "runs", *MAZE, "seeds=[3,5]")) == 0
    printed = capsys.readouterr()
    assert ", seeds 3, 5 together, on cpu" in printed.err
    told = [line.partition(":")[0] for line in printed.out.splitlines() if "update" in line]
    assert told == [f"seed {seed}, update {step}" for step in (2, 4) for seed in (3, 5)]
