"""Jobs whose commands are over at once, and the folder that they are in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from laminar.train.sweeps import process
from laminar.train.sweeps.job import Job

STUB = Path(__file__).with_name("stub.py")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs that this process starts be `stub.py`, which takes no time to begin."""
    monkeypatch.setattr(process, "_PROGRAM", (str(STUB),))


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """Return a function that makes a job of commands, a string each."""

    def make(name: str, *commands: str, tries: int = 3) -> Job:
        words = tuple(tuple(command.split()) for command in commands)
        return Job(name, str(tmp_path / name), words, str(tmp_path), str(tmp_path / ".stop"), tries)

    return make


@pytest.fixture
def until() -> Callable[..., None]:
    """Return a function that waits until a condition holds."""

    def wait(holds: Callable[[], object], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.02)

    return wait
