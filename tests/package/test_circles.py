"""`make lint` refuses circles: between rooms, between files of a room, by late imports and by those for types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = ("tests", "benchmarks", "docs", "examples", "outputs", "build", "dist")

PLANTED = {
    "at the top": ("policies/observations.py", "from .acting import Actor\n"),
    "late": ("train/update/flat.py", "def late() -> None:\n    from .learner import Learner\n"),
    "for types": (
        "data/spec.py",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from .episodes import Episodes\n",
    ),
    "between rooms of a room": ("eval/results/scores.py", "from ..rollouts.options import RolloutOptions\n"),
}


def copy_of_the_package(folder: Path) -> Path:
    package = folder / "laminar"

    def left_out(where: str, names: list[str]) -> set[str]:
        top = Path(where) == ROOT
        return {name for name in names if name.startswith(".") or (top and name in LEFT_OUT) or name == "__pycache__"}

    shutil.copytree(ROOT, package, ignore=left_out)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return package


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what `make lint` runs, on the package in a folder."""
    program = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": str(folder)}
    words = [str(program), "--no-cache"]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_package(tmp_path_factory.mktemp("lint"))


def test_there_is_no_circle(package: Path) -> None:
    done = lint(package.parent)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_circle_is_found(kind: str, package: Path) -> None:
    name, planted = PLANTED[kind]
    file = package / name
    source = file.read_text(encoding="utf-8")
    file.write_text(source + "\n" + planted, encoding="utf-8")
    try:
        done = lint(package.parent)
    finally:
        file.write_text(source, encoding="utf-8")
    assert done.returncode != 0
    assert "No circle between the rooms, nor between the files of any room BROKEN" in done.stdout
