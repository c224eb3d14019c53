"""The runs behind the default of OFQL: what the script asks for can be composed, and its methods differ as they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laminar.configs.compose import compose


@pytest.fixture(scope="module")
def script(example: Callable[[str], Any]) -> Any:
    return example("ofql_table")


@pytest.fixture
def commands(script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Words of the training commands of a whole run of the script with all data and the ablation."""
    found: list[list[str]] = []
    monkeypatch.setattr(script, "train", lambda words, folder: found.append(words))
    monkeypatch.setattr(script, "laminar", lambda words: None)
    monkeypatch.setattr(script, "SEEDS", (0,))
    script.main("data", str(tmp_path), ["door-human", "scene-task1"], True)
    return found


def test_all_runs_can_be_composed_and_are_of_one_length(commands: list[list[str]], script: Any) -> None:
    assert len(commands) == 2 * (len(script.METHODS) + len(script.ABLATION))
    for words in commands:
        config = compose("train", words)
        assert config.steps == 100_000
        assert config.env.id


def test_each_ablation_takes_away_a_part(script: Any) -> None:
    whole = compose("train", script.METHODS["ofql"])
    for name, words in script.ABLATION.items():
        assert compose("train", words) != whole, name


def test_ofql_has_its_defaults_on_all_data(script: Any) -> None:
    """Nothing is chosen by data set, but for chunks and the sparse reward of OGBench's own tables."""
    for one in script.DATA.values():
        assert not any(word.startswith(("method.", "policy.")) for word in one.words)
        assert one.rewards in ((), ("method.reward=sparse",))
    assert script.METHODS["ofql"] == ["method=ofql"]
