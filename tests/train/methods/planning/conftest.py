"""Small planners, by command lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl

SMALL = [
    *("network.width=16", "network.depth=1", "policy.horizon=6", "policy.chunk=4", "policy.execute=2"),
    *("policy.process.steps=2", "policy.critic.width=8", "policy.critic.depth=1", "policy.inverse.width=8"),
    *("policy.inverse.depth=1", "policy.draft.width=8", "policy.draft.heads=2", "policy.draft.depth=1"),
    *("policy.follow.replan=null", "method.batch_size=8", "method.warmup=5"),
    *("log_every=10", "checkpoint_every=16", "steps=40"),
]
RECIPES = {
    "diffuser": ["policy.candidates=3"],
    "decision_diffuser": [],
    "trajectory_diffuser": ["policy.candidates=3", "policy.draft.steps=1"],
    "veteran": ["policy.candidates=3", "policy.stride=2", "policy.horizon=4"],
}


@pytest.fixture
def words(rewarded_file: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that gives the command line of a run: words(policy, *more, out="run", data=FILE)."""

    def make(policy: str, *more: str, out: str = "run", data: Path = rewarded_file) -> list[str]:
        where = [f"data.path={data}", f"out={tmp_path / out}", "method=planning", f"policy={policy}"]
        return ["train", *where, *SMALL, *RECIPES.get(policy, []), *more]

    return make


@pytest.fixture
def with_goals(rewarded: Episodes, tmp_path: Path) -> Path:
    """Return a file of the same recordings whose observations have a goal."""
    goal = np.zeros((len(rewarded), 2), np.float32)
    shown = replace(rewarded, infos={"goal": goal})
    d4rl.write(tmp_path / "goals.hdf5", shown)
    return tmp_path / "goals.hdf5"
