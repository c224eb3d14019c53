"""A planner whose training is killed, at whatever moment, ends bit-equal to one whose was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laminar.cli import main

from ...killing import Launch, assert_as_if_never_killed, kill_and_resume


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["diffuser", "trajectory_diffuser", "veteran"])
def test_kill_three_times(
    policy: str, words: Callable[..., list[str]], launch: Launch, numbers: Any, tmp_path: Path
) -> None:
    more = ("steps=200", "log_every=1", "checkpoint_every=3")
    assert main(words(policy, *more, out="whole")) == 0
    command = words(policy, *more, "resume=true", out="killed")
    kill_and_resume(launch, command, tmp_path / "killed", [0, 40, 120])
    assert_as_if_never_killed(tmp_path / "killed", tmp_path / "whole", numbers)
