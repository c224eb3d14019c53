"""Every block of docs/your_robot.md runs, in its order, with smaller numbers."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from laminar.cli import main

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALLER = (("steps=5000", "steps=40"), ("episodes=50", "episodes=2"), ("calls=500", "calls=20"))
IN_PYTHON = (("steps=5000", "steps=40"), ("range(100)", "range(8)"), ("range(3)", "range(1)"))


def smaller(text: str, numbers: tuple[tuple[str, str], ...]) -> str:
    for usual, small in numbers:
        text = text.replace(usual, small)
    return text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(time, "sleep", lambda _: None)
    yield tmp_path
    sys.modules.pop("mybot", None)
    gymnasium.registry.pop("Arm-v0", None)


def test_every_block(repository: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = BLOCK.findall((repository / "docs/your_robot.md").read_text(encoding="utf-8"))
    files = [text for kind, text in blocks if kind == "python"]
    for text in files:
        name = text.splitlines()[0].removeprefix("# ")
        assert name.endswith(".py"), "each block is a file"
        (folder / name).write_text(smaller(text, IN_PYTHON), encoding="utf-8")
    lines = [line for kind, text in blocks if kind == "bash" for line in text.splitlines()]
    assert {kind for kind, _ in blocks} == {"python", "bash"}
    told = {}
    for line in lines:
        program, *words = shlex.split(smaller(line, SMALLER), comments=True)
        if program == "python":
            runpy.run_path(words[0], run_name="__main__")
        else:
            assert program == "laminar"
            assert main(words) == 0, capsys.readouterr().err
        told[" ".join(words[:1])] = capsys.readouterr().out
    assert {f"# {name}" for name in ("record.py", "train.py", "control.py", "mybot.py")} == {
        text.splitlines()[0] for text in files
    }
    assert "limits -1 to 1" in told["inspect"]
    assert "looks wrong" not in told["inspect"]
    assert "late actions" in told["control.py"]
    assert json.loads((folder / "runs/reach/eval/eval.json").read_text())["env_id"] == "mybot:Arm-v0"
    assert (folder / "reach_onnx/policy.onnx").exists()
