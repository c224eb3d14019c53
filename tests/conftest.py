"""Fixtures that every room's tests share."""

from __future__ import annotations

import os

# Before torch is there: tests run side by side, one a core, and children are forked off, where threads are lost.
os.environ["OMP_NUM_THREADS"] = "1"

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

REPOSITORY = Path(__file__).resolve().parents[1]
COUNTER = REPOSITORY / "tests" / "envs" / "counter_suite.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout, which is also the package's folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def program() -> Callable[[Path], ModuleType]:
    """Return a function that loads a script, which belongs to no package, as a module."""

    def load(path: Path) -> ModuleType:
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let "strangers:NAME-v0" be found, here and in worker processes; see `others/strangers.py`."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests" / "others"))
    return "strangers"


@pytest.fixture(scope="session")
def demo_data() -> Callable[[str], Path]:
    """Return a function from a file's name to its path in the demonstration data; it skips if there is none.

    The folder is `$LAMINAR_DATA`, or else `shared/data` beside the checkout.
    """
    folder = Path(os.environ.get("LAMINAR_DATA") or REPOSITORY.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f"needs the demonstration file {path}: set LAMINAR_DATA to the folder that has {name}")
        return path

    return find


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Return Ray, with a cluster of two cores that is started for the tests of a module and found by what they call."""
    if find_spec("ray") is None:  # not imported here: it reads once, when it is, what `cluster` sets
        pytest.skip("needs Ray: pip install 'laminar[ray]'")
    from laminar.cluster import cluster

    with cluster(cpus=2) as started:
        yield started


@pytest.fixture(scope="module")
def registered() -> Iterator[ModuleType]:
    """Return the suite of `counter_suite.py`, registered while the tests of a module run."""
    with pytest.MonkeyPatch.context() as patch:
        yield load_counter(patch)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the suite of `counter_suite.py`, registered for one test."""
    return load_counter(monkeypatch)


def load_counter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = spec_from_file_location("counter_suite", COUNTER)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "counter_suite", module)
    spec.loader.exec_module(module)
    from laminar.envs.suites import SUITES

    monkeypatch.setattr(SUITES, "_registered", {})
    assert SUITES.register(module) == "counter_suite"
    return module


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
    """Return the id of a user's own environment, which the code of the pages is run with."""
    gymnasium.register("Reach-v0", Reach, max_episode_steps=10)
    yield "Reach-v0"
    gymnasium.registry.pop("Reach-v0")
