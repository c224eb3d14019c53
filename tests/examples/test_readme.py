"""The README's commands have settings that exist, and its Python runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import laminar
from laminar.configs.compose import SCHEMAS, compose, is_setting
from laminar.configs.sweep_command import parts
from laminar.verbs import VERBS

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
UPPER = re.compile(r"=([A-Z]+|…)\b")


def commands(page: Path) -> Iterator[list[str]]:
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in text.replace("\\\n", " ").splitlines() if kind == "bash" else ():
            words = shlex.split(line, comments=True)
            if words[:1] == ["laminar"] and "…" not in line:
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_settings_that_exist(page: Path) -> None:
    """What they name is not looked for: `UPPER` stands for something of the reader's."""
    for verb, *words in commands(page):
        assert verb in VERBS, f"laminar {verb}"
        if verb == "train" and "-m" in words:
            own, runs, measure = parts([UPPER.sub("=1", word) for word in words])
            compose("sweep", own)
            assert len({compose("train", [f"{key}={text}" for key, text in run]).seed for run in runs}) > 0
            compose("eval", measure)
        elif verb in SCHEMAS and "--help" not in words:
            settings = [
                word
                for word in words
                if verb not in ("compare", "inspect", "view", "convert", "sweep") or is_setting(verb, word)
            ]
            compose(verb, [UPPER.sub("=1", word) for word in settings])


def test_there_are_commands() -> None:
    assert len(list(commands(ROOT / "README.md"))) > 15


def test_the_python_runs(reach: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = next(text for kind, text in BLOCK.findall((ROOT / "README.md").read_text("utf-8")) if kind == "python")
    block = (
        block.replace("steps=20_000", "steps=20")
        .replace("mybot:Reach-v0", reach)
        .replace("range(1000, 1050)", "range(2)")
    )
    rng = np.random.default_rng(0)
    named = {
        "episodes": [
            {"observation": rng.normal(size=(21, 2)), "action": rng.uniform(-1, 1, (20, 2))} for _ in range(3)
        ],
        "low": [-1, -1],
        "high": [1, 1],
        "env": gymnasium.make(reach),
        "windows": np.zeros((5, 2)),
        "noise": torch.zeros(5, 8, 2),
        "batch": np.zeros((3, 2)),
    }
    exec(block, named)
    assert named["chunk"].shape == (5, 8, 2)
    assert named["action"].shape == (3, 2)
    assert isinstance(named["result"], type(laminar.evaluate(named["run"], reach, seeds=range(1))))
