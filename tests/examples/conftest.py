"""Scripts of examples/ as modules, and small files in place of those that they are about."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest


@pytest.fixture(scope="session")
def example(repository: Path) -> Callable[[str], Any]:
    """Import a script by its name; it finds what the scripts share beside it."""

    def load(name: str) -> Any:
        folder = repository / "examples"
        found = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.path.insert(0, str(folder))
        sys.modules[name] = module
        try:
            found.loader.exec_module(module)
        finally:
            sys.path.remove(str(folder))
        return module

    return load


@pytest.fixture(scope="session")
def hopper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write both files in D4RL's layout: a few short episodes of Hopper's widths."""
    folder, rng = tmp_path_factory.mktemp("hopper"), np.random.default_rng(0)
    ends = np.arange(400) % 50 == 49
    for name, reward in (("medium", 1.0), ("expert", 2.0)):
        with h5py.File(folder / f"hopper-{name}-v4.hdf5", "w") as file:
            file["observations"] = rng.normal(size=(400, 11)).astype(np.float32)
            file["actions"] = rng.uniform(-1, 1, (400, 3)).astype(np.float32)
            file["rewards"] = (reward + rng.uniform(-0.5, 0.5, 400)).astype(np.float32)
            file["terminals"] = ends
            file["timeouts"] = np.zeros(400, bool)
    return folder
