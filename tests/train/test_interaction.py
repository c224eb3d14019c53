"""Acting chunk by chunk: what a row of experience is."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.spec import Feature, Spec
from laminar.envs.slots import Slots
from laminar.errors import LaminarError
from laminar.policies.observations import Windows
from laminar.train.interaction import Interaction

SPEC = Spec({"observation": Feature((3,))}, Feature((1,)), (-1.0,), (1.0,))


def tenths(windows: Windows) -> torch.Tensor:
    """A chunk of five actions 0.1, 0.2, … for each slot."""
    count = len(next(iter(windows.values())))
    return torch.arange(1, 6).float().div(10).view(1, 5, 1).repeat(count, 1, 1)


@pytest.fixture
def acting(counter: ModuleType) -> Iterator[Any]:
    worlds: list[Slots] = []

    def make(arguments: str, slots: int = 1, history: int = 1, execute: int = 4, seed: int = 0) -> Interaction:
        worlds.append(Slots(f"user/Count-v0?{arguments}", SPEC, slots))
        return Interaction(worlds[-1], history, execute, seed)

    yield make
    for world in worlds:
        world.close()


def test_a_row_is_a_chunk(acting: Any) -> None:
    row = acting("limit=10").step(tenths)
    assert row["reward"].tolist() == pytest.approx([1.0])  # 0.1 + 0.2 + 0.3 + 0.4: the fifth is not executed
    assert row["action"].flatten().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert row["steps"].tolist() == [4]
    assert row["observation"]["observation"][0, 0, :2].tolist() == [0.0, 0.0]
    assert row["next_observation"]["observation"][0, 0, :2].tolist() == pytest.approx([4.0, 1.0])
    assert not row["terminated"].any()


@pytest.mark.parametrize(("end", "terminated"), [("terminal=6", True), ("limit=6", False)])
def test_a_chunk_ends_with_its_episode(acting: Any, end: str, terminated: bool) -> None:
    """Time limits are no terminals, no reward is from beyond, and what was seen last is kept."""
    interaction = acting(end)
    interaction.step(tenths)
    row = interaction.step(tenths)
    assert row["steps"].tolist() == [2]
    assert row["reward"].tolist() == pytest.approx([0.3])
    assert row["action"].flatten().tolist() == pytest.approx([0.1, 0.2, 0.2, 0.2])
    assert row["terminated"].tolist() == [terminated]
    assert row["next_observation"]["observation"][0, 0, 0].item() == 6.0
    assert interaction.steps == 6, "control steps, not chunks"
    assert interaction.seen["observation"][0, 0, 0].item() == 0.0, "the next episode has begun"
    figures = interaction.figures()
    assert figures["train_return"].item() == pytest.approx(1.3)
    assert figures["episodes"].item() == 1


def test_a_history_sees_what_lies_between(acting: Any) -> None:
    interaction = acting("limit=6", history=3)
    row = interaction.step(tenths)
    assert row["observation"]["observation"][0, :, 0].tolist() == [0.0, 0.0, 0.0]
    assert row["next_observation"]["observation"][0, :, 0].tolist() == [2.0, 3.0, 4.0]
    row = interaction.step(tenths)
    assert row["next_observation"]["observation"][0, :, 0].tolist() == [4.0, 5.0, 6.0]
    assert interaction.seen["observation"][0, :, 0].tolist() == [0.0, 0.0, 0.0]


def test_slots_end_at_their_own_times(acting: Any) -> None:
    interaction = acting("limit=6", slots=2, history=2)
    interaction._execution.begin({1: 7}, {1: {"limit": 3}})  # pyright: ignore[reportPrivateUsage]
    row = interaction.step(tenths)
    assert row["steps"].tolist() == [4, 3]
    assert row["reward"].tolist() == pytest.approx([1.0, 0.6])
    assert interaction.steps == 7
    assert interaction.seen["observation"][:, :, 0].tolist() == [[3.0, 4.0], [0.0, 0.0]]


def test_what_is_not_finite_is_refused(acting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    interaction = acting("limit=6", history=2)
    with pytest.raises(LaminarError, match="the policy's chunk is not finite"):
        interaction.step(lambda windows: tenths(windows) / 0)
    env = interaction.world.envs[0]
    monkeypatch.setattr(env.unwrapped, "_observation", lambda: np.array([0.0, np.nan, 0.0]))
    with pytest.raises(LaminarError, match="observation 'observation' of robot 0 is not finite"):
        interaction.step(tenths)


def test_success_counts_where_it_is_told(acting: Any) -> None:
    silent = acting("limit=4")
    silent.step(tenths)
    assert "train_success" not in silent.figures()
    told = acting("limit=4&success=2")
    told.step(tenths)
    assert told.figures()["train_success"].item() == 1.0


@pytest.mark.parametrize("seed", [0, 1023, 2**32 - 1])
def test_seeds_suit_old_environments(acting: Any, seed: int) -> None:
    first = acting("limit=4", seed=seed)._first  # pyright: ignore[reportPrivateUsage]
    assert 2**30 <= first <= 2**31 - 2**20


def test_every_episode_has_a_seed_of_its_own(acting: Any) -> None:
    seen: list[float] = []
    for seed in (0, 1):
        interaction = acting("limit=4", slots=2, seed=seed)
        for _ in range(3):
            seen += interaction.seen["observation"][:, 0, 2].tolist()
            interaction.step(tenths)
    assert len(set(seen)) == 12


def test_it_goes_on_from_its_state(acting: Any) -> None:
    first, second = acting("limit=6", slots=2, history=2), acting("limit=6", slots=2, history=2)
    for _ in range(3):
        first.step(tenths)
    second.world.load_state({name: np.asarray(value) for name, value in first.world.state().items()})
    second.load_state(first.state())
    assert (first.steps, first.figures()) == (second.steps, second.figures())
    for _ in range(3):
        mine, theirs = first.step(tenths), second.step(tenths)
        assert mine["reward"].tolist() == theirs["reward"].tolist()
        for name in ("observation", "next_observation"):
            assert torch.equal(mine[name]["observation"], theirs[name]["observation"])
    assert all(bool(value.isfinite().all()) for value in first.state().values())
