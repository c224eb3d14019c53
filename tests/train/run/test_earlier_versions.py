"""Runs of earlier versions go on: checkpoints under their old names, settings that they did not know."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from laminar.cli import main
from laminar.policies.storage import checkpoints
from laminar.train.config import TrainConfig
from laminar.train.methods.bc import BehaviorCloning
from laminar.train.methods.bc import Config as BCConfig
from laminar.train.methods.distillation import Distillation
from laminar.train.run.checkpoint import defaults_of

LENGTHS = ("steps=12", "log_every=1", "checkpoint_every=6")
SMALL = ("network.width=16", "method.batch_size=8", "method.warmup=3")


def cloning(data: Path, out: Path) -> list[str]:
    return ["train", "method=bc", "policy=flow", f"data.path={data}", f"out={out}", *SMALL, *LENGTHS]


def interrupted(words: Sequence[str], out: Path) -> Path:
    """Return the training state of a finished run's checkpoint after half of its updates; the last one is gone."""
    assert main([*words]) == 0
    shutil.copytree(out, out.with_name("whole"))
    shutil.rmtree(checkpoints(out)[-1])
    return checkpoints(out)[-1] / "train.safetensors"


def assert_ends_alike(words: Sequence[str], out: Path, numbers: Any) -> None:
    assert main([*words, "resume=true"]) == 0
    whole = out.with_name("whole")
    assert numbers(out) == numbers(whole)
    for file in ("model.safetensors", "train.safetensors"):
        assert (checkpoints(out)[-1] / file).read_bytes() == (checkpoints(whole)[-1] / file).read_bytes()


def rename(path: Path, old: Mapping[str, str]) -> None:
    """Write a training state as an earlier version named it; `old` is theirs -> today's."""
    state = load_file(path)
    theirs = {today: name for name, today in old.items()}
    assert theirs.keys() <= state.keys()
    save_file({theirs.get(name, name): value for name, value in state.items()}, path)


def test_old_names_of_cloning(demonstrations: Path, tmp_path: Path, numbers: Any) -> None:
    out = tmp_path / "run"
    words = cloning(demonstrations, out)
    old = {"parameters": "online", "exp_avg": "online_first", "exp_avg_sq": "online_second"}
    assert BehaviorCloning.renamed == old
    rename(interrupted(words, out), old)
    assert_ends_alike(words, out, numbers)


@pytest.mark.parametrize("recipe", ["reflow", "ctm"])
def test_old_names_of_distillation(recipe: str, demonstrations: Path, tmp_path: Path, numbers: Any) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "run"
    assert main(cloning(demonstrations, teacher)) == 0
    words = ["train", f"method={recipe}", f"method.teacher={teacher}", f"data.path={demonstrations}", f"out={out}"]
    words += [*SMALL, *LENGTHS, *(["method.pairs=100"] if recipe == "reflow" else [])]
    old = {"first": "student_first", "second": "student_second"}
    assert Distillation.renamed == old
    rename(interrupted(words, out), old)
    assert_ends_alike(words, out, numbers)


def edit(out: Path, *removed: str) -> None:
    """Take settings out of run.json, as if the version that wrote it had not known them."""
    settings = json.loads((out / "run.json").read_text())
    for name in removed:
        *parents, last = name.split(".")
        inner: Any = settings
        for parent in parents:
            inner = inner[parent]
        del inner[last]
    (out / "run.json").write_text(json.dumps(settings))


NEWER = ("env.slots", "env.processes", "method.ema_power", "runtime.matmul", "seeds")


def test_a_setting_that_came_later_had_its_default(demonstrations: Path, tmp_path: Path, numbers: Any) -> None:
    out = tmp_path / "run"
    words = cloning(demonstrations, out)
    interrupted(words, out)
    edit(out, *NEWER)
    assert_ends_alike(words, out, numbers)
    assert json.loads((out / "run.json").read_text())["env"]["slots"] == 1, "it is written down from now on"


@pytest.mark.parametrize(
    ("name", "word", "message"),
    [
        ("method.ema_power", "method.ema_power=0.5", "method.ema_power was 0.75 and is now 0.5"),
        ("env.slots", "env.slots=4", "env.slots was 1 and is now 4"),
    ],
)
def test_another_value_than_the_default_is_another_run(
    name: str, word: str, message: str, demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = cloning(demonstrations, out)
    interrupted(words, out)
    edit(out, name)
    assert main([*words, word, "resume=true"]) == 2
    assert message in capsys.readouterr().err
    assert [folder.name for folder in checkpoints(out)] == ["step_00000006"]


def test_the_defaults_of_nested_settings() -> None:
    found = defaults_of(TrainConfig(method=BCConfig(lr=0.5)))
    assert found["method"]["lr"] == 1e-3, "the default, whatever is set"
    assert found["env"]["slots"] == 1
    assert found["steps"] == 30_000
    assert found["policy"] is None
