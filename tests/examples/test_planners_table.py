"""The runs behind the page of planning: all can be composed, and a short run of the script ends in its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laminar.cli import main
from laminar.configs.compose import compose

SMALL = ["network.width=16", "method.batch_size=8", "policy.draft.width=16", "policy.draft.depth=1"]


@pytest.fixture
def script(example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, whose commands run in this process."""
    found = example("planners_table")

    def run(words: list[str]) -> None:
        assert main(words) == 0

    monkeypatch.setattr(found, "laminar", run)
    monkeypatch.setattr(found, "train", lambda words, folder: run(["train", *words, f"out={folder}", "resume=true"]))
    return found


def test_planners_of_hopper(script: Any, hopper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [word for word in script.HOPPER if not word.startswith(("runtime", "steps", "checkpoint", "keep"))]
    monkeypatch.setattr(script, "HOPPER", [*told, *SMALL, "steps=6", "checkpoint_every=1", "keep_every=1"])
    monkeypatch.setattr(script, "UPDATES", (2, 6))
    monkeypatch.setattr(script, "EPISODES", 2)
    script.hopper(str(hopper), tmp_path, ["trajectory_diffuser"])
    rows = [line.strip("| ").split(" | ") for line in (tmp_path / "hopper.md").read_text().splitlines()[2:]]
    assert [row[:3] for row in rows] == [
        ["trajectory_diffuser", *row] for row in (["2", ""], ["6", ""], ["6", "2 steps"], ["6", "1 step"])
    ]
    assert (tmp_path / "hopper.png").stat().st_size > 10_000
    written = {path: path.stat().st_mtime for path in tmp_path.glob("*/eval.json")}
    assert len(written) == 4
    script.hopper(str(hopper), tmp_path, ["trajectory_diffuser"])
    assert written == {path: path.stat().st_mtime for path in tmp_path.glob("*/eval.json")}, "done is done"


def test_all_runs_can_be_composed(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, ways in script.WAYS.items():
        config = compose("train", [f"policy={name}", *script.HOPPER])
        assert all(updates % config.keep_every == 0 for updates in script.UPDATES)
        for way in ways:
            acted = compose("eval", ["policy.path=x", *way.words])
            assert acted.policy.steps == way.steps
            assert acted.plan.draft_steps == (way.anew and way.anew.draft_steps)
    for maze in script.MAZES.values():
        for method, updates in maze.updates.items():
            config = compose("train", [*script.learning(method, maze.stride), f"env.id={maze.env_id}"])
            assert updates >= 10_000
            assert (config.policy.execute == maze.stride) == (method != "dql")
