"""A user's suite, registered for tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from laminar.data.spec import Spec
from laminar.envs import env_spec, make_env
from laminar.envs.suites import SUITES


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
    spec = spec_from_file_location("counter_suite", Path(__file__).with_name("counter_suite.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "counter_suite", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(SUITES, "_registered", {})
    assert SUITES.register(module) == "counter_suite"
    return module


@pytest.fixture(scope="session")
def spec_of() -> Callable[..., Spec]:
    """Return a function from an environment's id to its spec."""

    def ask(env_id: str) -> Spec:
        env = make_env(env_id)
        try:
            return env_spec(env)
        finally:
            env.close()

    return ask
