"""`laminar train -m` and `laminar sweep`: which runs words and files stand for, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from laminar.cli import main
from laminar.configs import sweep_command
from laminar.configs.compose import compose, options
from laminar.configs.multirun import split, values
from laminar.configs.sweep_file import read
from laminar.errors import LaminarError

OWN = ("launcher", "out", "cpus", "gpus", "tries", "stop")


@pytest.mark.parametrize(
    ("word", "texts"),
    [
        ("seed=0,1", ["0", "1"]),
        ("seed=range(0,6,2)", ["0", "2", "4"]),
        ("method=choice(bc,dql)", ["bc", "dql"]),
        ("network.widths=[64,64],[128]", ["[64,64]", "[128]"]),
        ("data.path=a.hdf5,'b,c.hdf5'", ["a.hdf5", "'b,c.hdf5'"]),
        ("method.lr=1e-3,0.1", ["0.001", "0.1"]),
        ("env.id=null,laminar/PointMaze-v0", ["null", "laminar/PointMaze-v0"]),
        ("network.widths=[64,64]", []),
        ("seeds=[0,1]", []),
        ("out=a (1).hdf5", []),
        ("data.path='a,b'", []),
        ("method=bc", []),
    ],
)
def test_values_of_a_word(word: str, texts: list[str]) -> None:
    assert values(word) == texts


def test_names_are_chosen_by_patterns() -> None:
    assert values("network=glob(*)") == options("network")
    assert values("network=glob(*,exclude=unet*)") == [name for name in options("network") if name != "unet1d"]
    with pytest.raises(LaminarError, match=r"stands for nothing \(known: .*unet1d"):
        values("network=glob(x*)")
    with pytest.raises(LaminarError, match="no end of values"):
        values("method.lr=interval(0,1)")


def test_a_path_with_a_comma_that_exists_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert values("data.path=a,b") == ["a", "b"]
    (tmp_path / "a,b").touch()
    assert values("data.path=a,b") == []


def test_all_combinations_the_last_word_fastest() -> None:
    runs = split(["method=bc,dql", "steps=5", "seed=0,1"])
    assert [[text for _, text in run] for run in runs] == [
        ["bc", "5", "0"],
        ["bc", "5", "1"],
        ["dql", "5", "0"],
        ["dql", "5", "1"],
    ]


FILE = """
out: sweep
launcher: ray
launcher.cpus: 2
settings: {data: {path: demos.hdf5}, steps: 20_000, seeds: [3, 4]}
sweep:
  method: [bc, dql]
  network.widths: [[64, 64], [128]]
runs:
  - {policy: flow}
  - {policy: meanflow, steps: 5}
eval: {env.id: laminar/PointMaze-v0, episodes: 5}
"""


def test_a_file_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(FILE)
    found = read(str(tmp_path / "sweep.yaml"), OWN)
    assert found.own == ["out=sweep", "launcher=ray", "launcher.cpus=2"]
    assert found.measure == ["env.id=laminar/PointMaze-v0", "episodes=5"]
    assert len(found.runs) == 8
    first, last = dict(found.runs[0]), dict(found.runs[-1])
    assert first == {
        **{"data.path": "demos.hdf5", "steps": "20000", "seeds": "[3,4]"},
        **{"method": "bc", "network.widths": "[64,64]", "policy": "flow"},
    }
    assert (last["method"], last["steps"], last["network.widths"]) == ("dql", "5", "[128]")
    config = compose("sweep", found.own)
    assert (config.launcher.name, config.launcher.cpus, config.out) == ("ray", 2, "sweep")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a", "is no sweep"),
        ("a: [", "is not YAML"),
        ("setting: {}", r"has 'setting', which is no setting of a sweep; did you mean 'settings'\?"),
        ("sweep: {seed: 3}", "sweep: seed must be a list of values"),
        ("settings: 3", "settings must have settings"),
        ("runs: {seed: 3}", "runs must be a list of settings"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(LaminarError, match=told):
        read(str(tmp_path / "sweep.yaml"), OWN)


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    found = capsys.readouterr()
    assert found.err.count("\n") == 1
    return found.err


TRAIN = ["train", "-m", "data.path=x.hdf5", "out=OUT"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eval", "-m", "policy.path=a,b"], "-m is for laminar train, which trains a run for each combination"),
        (["train", "method=bc,dql", "data.path=x"], "'method=bc,dql' has several values: laminar train -m"),
        (["train", "seed=0,1", "data.path=x"], "'seed=0,1' has several values: laminar train -m"),
        (["train", "method=bcc", "data.path=x"], "no method is called 'bcc'"),
        ([*TRAIN, "method=bc,dqll"], "no method is called 'dqll'"),
        ([*TRAIN, "launcher=rai"], "no launcher is called 'rai' (known: joblib, ray, slurm); did you mean 'ray'?"),
        ([*TRAIN, "launcher=ray", "launcher.partition=x"], "there is one with launcher=slurm"),
        ([*TRAIN, "seed=0,0"], "the run run is there twice"),
        ([*TRAIN, "cpus=0"], "cpus must be above 0"),
        ([*TRAIN, "resume=true"], "a sweep goes on by itself"),
        ([*TRAIN, "eval.episodes=3"], "give eval.env.id=ENVIRONMENT or eval.task=TASK"),
        ([*TRAIN, "eval.task=pointmaze", "eval.out=x"], "eval.out follows from the run"),
        (["train", "-m", "seed=0,1", "data.path=x"], "a sweep needs out=FOLDER"),
        (["train", "-m", "bc"], "'bc' is not key=value"),
        (["sweep"], "usage: laminar sweep FILE.yaml"),
        (["sweep", "none.yaml"], "none.yaml: No such file or directory"),
    ],
)
def test_mistakes_are_one_line(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word.replace("OUT", str(tmp_path / "sweep")) for word in words]
    assert told in error_of(words, capsys)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(("launcher", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra_is_one_line(
    launcher: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("laminar.cluster", "laminar.train.sweeps.launchers.slurm"):
        monkeypatch.setattr(f"{place}.find_spec", lambda name: None if name == module else name)
    told = error_of(["train", "-m", "seed=0,1", f"launcher={launcher}", f"out={tmp_path}"], capsys)
    assert told == f"laminar: launcher={launcher} needs the extra: pip install 'laminar[{launcher}]'\n"


def test_words_go_where_they_belong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[object] = []

    def noted(config: object, planned: object, runs: object, measure: object) -> str:
        seen.append((config, planned, runs, measure))
        return ""

    monkeypatch.setattr(sweep_command, "sweep", noted)
    words = ["method=bc,ofql", "seed=3", "task=pointmaze", "stop=asha", "stop.metric=x", "launcher=ray", "gpus=0.25"]
    assert main(["train", "--multirun", *words, "eval.episodes=7", "out=none"]) == 0
    config, planned, runs, measure = seen[0]  # pyright: ignore
    assert (config.launcher.name, config.stop.rule, config.stop.metric, config.gpus) == ("ray", "asha", "x", 0.25)
    assert [one.name for one in planned] == ["method=bc", "method=ofql"]
    assert [run.method.name for run in runs] == ["bc", "q_learning"] or runs[1].method.recipe == "ofql"
    assert measure == ["env.id=laminar/PointMaze-v0", "episodes=7"]
    assert "no run was measured" in capsys.readouterr().err


def test_help_of_many_is_that_of_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", "--help"]) == 0
    assert "launcher=joblib|ray|slurm" in capsys.readouterr().out
