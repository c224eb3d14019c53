"""What the table scripts share: a training that was stopped is not taken for one that is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def commands(program: Callable[[Path], ModuleType], repository: Path) -> ModuleType:
    return program(repository / "examples" / "commands.py")


def test_training_goes_on_until_the_last_update(
    commands: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, stops, asked = tmp_path / "run", [4, 10], []

    def laminar(words: list[str]) -> float:
        asked.append(words)
        (folder / "checkpoints" / f"step_{stops.pop(0):08d}").mkdir(parents=True)
        (folder / "run.json").write_text('{"steps": 10}')
        return 1.5

    monkeypatch.setattr(commands, "laminar", laminar)
    with pytest.raises(SystemExit, match="start the script again to go on"):
        commands.train(["method=bc"], folder)
    for _ in range(2):  # the second time there is nothing left to do
        commands.train(["method=bc"], folder)
    assert asked == [["train", "method=bc", f"out={folder}", "resume=true"]] * 2
    assert json.loads((folder / "cpu_seconds.json").read_text()) == 3.0
