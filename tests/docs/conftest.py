"""A robot of one's own, a policy of it, and the site."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

import laminar

REACH = "DocsReach-v0"


class Reach(gymnasium.Env[np.ndarray, np.ndarray]):
    """A point that is to come to the middle."""

    observation_space, action_space = Box(-2, 2, (2,)), Box(-1, 1, (2,))
    place = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict[str, object]]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.place, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.place = (self.place + 0.1 * action).astype(np.float32)
        near = bool(np.abs(self.place).max() < 0.1)
        return self.place, float(near), near, False, {"success": near}


@pytest.fixture
def reach() -> Iterator[str]:
    gymnasium.register(REACH, Reach, max_episode_steps=10)
    yield REACH
    gymnasium.registry.pop(REACH)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the pages' Python takes for granted: demos.hdf5, and runs/ of a small flow."""
    folder = tmp_path_factory.mktemp("pages")
    random = np.random.default_rng(0)
    episodes = [
        {"observation": random.normal(size=(33, 2)), "action": random.uniform(-1, 1, (32, 2))} for _ in range(3)
    ]
    laminar.write_episodes(folder / "demos.hdf5", episodes, action_low=[-1, -1], action_high=[1, 1])
    for name, prefix in (("door", 0), ("prefix", 4)):
        laminar.train(
            data=folder / "demos.hdf5",
            method={"name": "bc", "prefix": prefix, "batch_size": 8},
            policy={"name": "flow", "chunk": 16, "execute": 8, "process": {"steps": 2}},
            network={"width": 16, "depth": 1},
            steps=2,
            out=folder / "runs" / name,
        )
    for name in ("hopper", "clone"):
        (folder / "runs" / name).symlink_to(folder / "runs/door", target_is_directory=True)
    return folder


@pytest.fixture(scope="session")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, where a warning is an error, and return its folder."""
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    told = built.stdout + built.stderr
    assert built.returncode == 0, told
    assert "WARNING" not in told, told
    return folder
