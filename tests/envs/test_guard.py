"""Environments that do not keep to gymnasium's interface, or to their own spaces, are told in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from laminar.data.spec import Spec
from laminar.envs import env_spec, make_env
from laminar.envs.slots import Slots
from laminar.envs.workers import WorkerSlots
from laminar.errors import LaminarError

Lived = Callable[..., float]


def one(env_id: str, spec: Spec) -> Slots:
    return Slots(env_id, spec, 1)


def worker(env_id: str, spec: Spec) -> WorkerSlots:
    return WorkerSlots(env_id, spec, 1, processes=1)


@pytest.fixture(params=[one, worker])
def lived(request: pytest.FixtureRequest, strangers: str) -> Iterator[Lived]:
    """Return a function from an environment's name and a seed to the return of its first two steps."""
    made: list[Any] = []

    def live(name: str, seed: int = 0) -> float:
        env_id = f"{strangers}:{name}"
        env = make_env(env_id)
        made.append(request.param(env_id, env_spec(env)))
        env.close()
        made[-1].reset({0: seed})
        return float(made[-1].step(np.zeros((1, 2, 2), np.float32)).reward[0])

    yield live
    for world in made:
        world.close()


PAIR, FIVE = r"in place of \(observation, info\)", r"in place of \(observation, reward, terminated, truncated, info\)"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Unseeded-v0", r"reset\(\) of .*:Unseeded-v0' takes no argument 'seed', so no seed .* let it be reset\(self"),
        ("OldReset-v0", rf"reset\(\) of .* returned an array of shape \(3,\) {PAIR}.* register .* wrapper"),
        ("OldReset-v0?width=2", rf"returned an array of shape \(2,\) {PAIR}"),
        ("OldStep-v0", rf"step\(\) of .* returned 4 values {FIVE}.* register .* wrapper"),
        ("OldStep-v0?max_episode_steps=9", rf"step\(\) of .* returned 4 values {FIVE}"),
        ("NoInfo-v0", rf"step\(\) of .* returned something else .* {FIVE}"),
        ("Broken-v0", r":Broken-v0' raised RuntimeError in step\(\) at strangers.py:\d+: servo fault of the second"),
        ("BrokenWrapper-v0", r"raised KeyError in step\(\) at strangers.py:\d+: 'gripper'"),
        ("Paid-v0?kind=nothing", r":Paid-v0.* returned a reward that is None; it has to be one number: register"),
        ("Paid-v0?kind=dictionary", "a reward that is a dict"),
        ("Paid-v0?kind=two", r"a reward that is an array of shape \(2,\)"),
        ("Paid-v0?kind=text", "a reward that is a str"),
    ],
)
def test_what_is_no_interface(lived: Lived, name: str, line: str) -> None:
    with pytest.raises(LaminarError, match=line) as caught:
        lived(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("column", r"has shape \(3, 1\), its space says \(3,\); correct"),
        ("one", r"has shape \(1,\), its space says \(3,\)"),
        ("number", r"has shape \(\), its space says \(3,\)"),
        ("nothing", "is None, no array of numbers"),
        ("text", "is a str, no array of numbers"),
        ("ragged", "is a list, no array of numbers"),
        ("key", r"is in its space but was not shown \(there is \['place'\]\)"),
    ],
)
def test_what_is_not_in_the_space(lived: Lived, kind: str, line: str, at: int) -> None:
    """Also one that NumPy would broadcast, at the start and later."""
    with pytest.raises(LaminarError, match=f"observation 'observation' of environment 'strangers:Shown-v0.*' {line}"):
        lived(f"Shown-v0?kind={kind}&at={at}")


def test_lists_of_numbers_are_read(lived: Lived) -> None:
    assert lived("Shown-v0?kind=list") == lived("Stranger-v0")


@pytest.mark.parametrize("kind", ["array", "column", "numpy"])
def test_a_reward_may_be_an_array_of_one(lived: Lived, kind: str) -> None:
    assert lived(f"Paid-v0?kind={kind}") == 1.0


def test_seeds_that_an_environment_does_not_take(lived: Lived) -> None:
    assert lived("Legacy-v0", 2**32 - 1)
    line = r"raised ValueError in reset\(seed=4294967296\) at strangers.py:\d+: Seed must .* choose a smaller seed"
    with pytest.raises(LaminarError, match=line):
        lived("Legacy-v0", 2**32)


def test_a_bug_of_laminar_s_own_stays_one(strangers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env("laminar/PointMaze-v0")
    slots = Slots("laminar/PointMaze-v0", env_spec(env), 1)
    env.close()
    slots.reset({0: 0})

    def fail(self: Any, action: Any) -> Any:
        raise ZeroDivisionError

    layer: Any = slots.envs[0]
    while not type(layer).__module__.startswith("laminar."):
        layer = layer.env
    monkeypatch.setattr(type(layer), "step", fail)
    with pytest.raises(ZeroDivisionError):
        slots.step(np.zeros((1, 1, 2), np.float32))
    slots.close()
