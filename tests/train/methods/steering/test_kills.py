"""Steering that is killed, at whatever moment, ends bit-equal to steering that was not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from laminar.cli import main

from ...killing import Launch, assert_as_if_never_killed, kill_and_resume

WORDS = ("checkpoint_every=3", "log_every=1", "method.n_step=2", "method.patience=2")


def kill_some_times(toy: Any, launch: Launch, numbers: Any, kills: int, updates: int, *words: str) -> None:
    more = [*WORDS, f"env.steps={20 + 2 * updates}", *words]
    assert main(toy.words(*more, out="whole")) == 0
    at = [0, *sorted(random.Random(0).sample(range(1, updates * 8 // 10), kills - 1))]
    kill_and_resume(
        launch,
        toy.words(*more, "resume=true", out="killed"),
        toy.folder / "killed",
        at,
        suite=Path(str(toy.suite.__file__)),
    )
    assert_as_if_never_killed(toy.folder / "killed", toy.folder / "whole", numbers)


@pytest.mark.slow
def test_kill_twice(toy: Any, launch: Launch, numbers: Any) -> None:
    kill_some_times(toy, launch, numbers, 2, 100)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("words", [(), ("method.edit_scale=0.3", "method.candidates=3", "env.slots=2")], ids=" ".join)
def test_kill_ten_times(toy: Any, launch: Launch, numbers: Any, words: tuple[str, ...]) -> None:
    kill_some_times(toy, launch, numbers, 10, 400, *words)
