"""Episodes that go on much longer than successes take are cut off while learning."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from laminar.data.spec import Feature, Spec
from laminar.envs.slots import Slots
from laminar.train.interaction import Interaction
from laminar.train.patience import KNOWN, RECENT, Patience

SPEC = Spec({"observation": Feature((3,))}, Feature((1,)), (-1.0,), (1.0,))


def steps(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def test_never_before_ten_successes() -> None:
    patience = Patience(2.0)
    patience.learn(steps(*[5.0] * (KNOWN - 1)))
    assert patience.limit == float("inf")
    patience.learn(steps(5.0))
    assert patience.limit == 10.0


def test_nine_of_ten_set_the_limit() -> None:
    patience = Patience(3.0)
    patience.learn(np.arange(1.0, 12.0))  # 1 to 11: nine of ten took at most 10
    assert patience.limit == 30.0


def test_only_the_last_successes_count() -> None:
    patience = Patience(1.0)
    patience.learn(steps(*[1000.0] * RECENT))
    patience.learn(steps(*[7.0] * RECENT))
    assert patience.limit == 7.0


def test_none_cuts_nothing_off() -> None:
    patience = Patience(None)
    patience.learn(steps(*[1.0] * 50))
    assert patience.limit == float("inf")


@pytest.mark.parametrize("count", [0, 3, RECENT + 20])
def test_it_goes_on_from_its_state(count: int) -> None:
    first, second = Patience(2.0), Patience(2.0)
    first.learn(np.arange(float(count)))
    second.learn(steps(*[99.0] * 40))
    second.load_state(first.state())
    for _ in range(3):
        assert second.limit == first.limit
        for one in (first, second):
            one.learn(steps(*[50.0] * 7))
    assert first.state().shape == Patience(None).state().shape


def halves(windows: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.full((len(windows["observation"]), 2, 1), 0.5)


def thrust(value: float) -> object:
    return lambda windows: torch.full((len(windows["observation"]), 2, 1), value)


def interact(arguments: str, slots: int = 1) -> Interaction:
    return Interaction(Slots(f"user/Count-v0?{arguments}", SPEC, slots), 1, 2, 0, patience=2.0)


@pytest.mark.usefixtures("counter")
def test_what_it_cuts_off_is_no_terminal() -> None:
    acting = interact("limit=100&goal=3")
    for _ in range(3 * KNOWN):  # three chunks of 0.5 + 0.5 reach the goal after six steps
        acting.step(halves)
    assert acting.patience.limit == 12.0
    rows = [acting.step(thrust(0.0)) for _ in range(6)]  # type: ignore[arg-type]
    assert [bool(row["ended"][0]) for row in rows] == [False] * 5 + [True]
    assert not any(bool(row["terminated"][0]) for row in rows)
    assert rows[-1]["next_observation"]["observation"][0, 0, 0].item() == 12.0, "what it bootstraps from"
    assert acting.seen["observation"][0, 0, 0].item() == 0.0, "the next episode has begun"
    assert acting.figures()["train_success"].item() == pytest.approx(10 / 11)


@pytest.mark.usefixtures("counter")
@pytest.mark.parametrize("arguments", ["limit=6&success=6", "terminal=6"], ids=["success ends nothing", "untold"])
def test_where_success_ends_no_episode_none_is_cut_off(arguments: str, counter: ModuleType) -> None:
    acting = interact(arguments)
    for _ in range(5 * KNOWN):
        acting.step(halves)
    assert acting.patience.limit == float("inf")
