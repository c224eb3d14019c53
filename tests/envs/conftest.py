"""What environments say of themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from laminar.data.spec import Spec
from laminar.envs import env_spec, make_env


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
