"""A policy of a robot of one's own, and the site."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import laminar


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
