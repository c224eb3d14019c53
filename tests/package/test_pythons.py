"""Every Python that is promised: the same in all places; and a first hour in short, which all of them must do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from laminar.cli import main

FIRST_HOUR = [
    "collect task=pointmaze episodes=2 out=demos.hdf5",
    "train policy=flow policy.process.steps=2 task=pointmaze data.path=demos.hdf5 steps=10 network.width=16 out=run",
    "eval policy.path=run task=pointmaze episodes=1 video_episodes=0 out=run/eval",
    "export policy.path=run format=onnx out=exported",
]


@pytest.fixture
def pythons(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script that runs tests by each."""
    monkeypatch.syspath_prepend(str(repository / "tests"))
    import pythons

    return pythons


def test_all_places_promise_the_same(pythons: ModuleType, repository: Path) -> None:
    versions = pythons.promised()
    assert versions == [f"3.{minor}" for minor in range(10, 10 + len(versions))]
    assert f"python_requires = >={versions[0]}\n" in (repository / "setup.cfg").read_text(encoding="utf-8")
    lock = (repository / "requirements.lock").read_text(encoding="utf-8")
    assert f"for Python {versions[0]} to {versions[-1]}:" in lock


def test_this_python_is_promised_and_found(pythons: ModuleType) -> None:
    version = "{}.{}".format(*sys.version_info[:2])
    assert version in pythons.promised()
    assert pythons.find("2.6") is None
    found = pythons.find(version)
    if found is None:
        pytest.skip(f"no python{version} on the path: this one has another name")
    told = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    assert told.startswith(f"Python {version}.")


def test_what_is_run_by_each_exists(pythons: ModuleType, repository: Path) -> None:
    assert all((repository / path).exists() for path in pythons.TESTS)


def test_the_first_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record, train ten updates, evaluate and export."""
    monkeypatch.chdir(tmp_path)
    assert [main(line.split()) for line in FIRST_HOUR] == [0, 0, 0, 0]
    assert (tmp_path / "run" / "eval" / "eval.json").is_file()
    assert (tmp_path / "exported" / "policy.onnx").is_file()
