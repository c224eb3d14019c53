"""The script of the first hour, in its short form: the demo, and every block of docs/your_robot.md."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder with `python` and `laminar` of this process."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, command in {"python": [sys.executable], "laminar": [sys.executable, "-m", "laminar.cli"]}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.timeout(600)
def test_the_first_hour(repository: Path, tmp_path: Path, programs: Path) -> None:
    out = tmp_path / "it's new"
    environment = os.environ | {"BIN": str(programs)}
    script = repository / "examples/first_hour.sh"
    done = subprocess.run(
        [script, "--short", out], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert (out / "demo/eval/report.html").exists()
    room = out / "your_robot"
    assert {path.name for path in room.glob("*.py")} == {"mybot.py", "record.py", "train.py", "control.py"}
    assert json.loads((room / "runs/reach/eval/eval.json").read_text())["env_id"] == "mybot:Arm-v0"
    assert (room / "runs/reach/replay/report.html").exists()
    assert (room / "reach_onnx/policy.onnx").exists()
    assert "limits -1 to 1" in done.stdout
    assert "looks wrong" not in done.stdout
    assert " late actions" in done.stdout
