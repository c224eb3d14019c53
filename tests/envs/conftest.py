"""What environments say of themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from laminar.data.spec import Spec
from laminar.envs import env_spec, make_env
from laminar.envs.world import World
from laminar.errors import LaminarError


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


@pytest.fixture
def told_of_trouble() -> Callable[[World, str], None]:
    """Return a function that steps a world of three slots into a worker's trouble, which is told in one line."""

    def check(world: World, message: str) -> None:
        world.reset({0: 0, 1: 1, 2: 2})
        world.step(np.zeros((3, 2, 1)))
        with pytest.raises(LaminarError) as caught:
            world.step(np.zeros((3, 2, 1)), [1])
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)

    return check


@pytest.fixture
def ended_alike() -> Callable[..., int]:
    """Return a function that steps two worlds of one environment with the same random chunks, and compares all."""

    def compare(here: World, there: World, rounds: int) -> int:
        """Return how many episodes have ended, in both alike to the bit."""
        random, ended = np.random.default_rng(0), 0
        seeds = {slot: slot for slot in range(here.slots)}
        for _ in range(rounds):
            np.testing.assert_equal(there.reset(seeds), here.reset(seeds))
            slots = sorted(random.choice(here.slots, here.slots - 1, replace=False).tolist())
            chunks = random.uniform(-1, 1, (here.slots, int(random.integers(1, 9)), here.spec.action_dim))
            one, other = here.step(chunks, slots), there.step(chunks, slots)
            for name in ("observation", "reward", "steps", "terminated", "truncated", "success"):
                np.testing.assert_equal(getattr(other, name), getattr(one, name), err_msg=name)
            seeds = {int(slot): 100 + ended + int(slot) for slot in np.flatnonzero(one.ended)}
            ended += len(seeds)
        np.testing.assert_equal(there.state(), here.state())
        return ended

    return compare
