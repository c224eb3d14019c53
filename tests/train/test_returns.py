"""Returns over several chunks, against sums by hand."""

from __future__ import annotations

import random

import pytest
import torch

from laminar.train.returns import NStep

GAMMA = 0.5
EXAMPLE = {
    "cond": torch.zeros(1, 2),
    "next_cond": torch.zeros(1, 2),
    "reward": torch.zeros(1),
    "discount": torch.zeros(1),
}
Rows = dict[str, torch.Tensor]


def row(numbers: list[int], terminated: list[bool] | None = None) -> Rows:
    """A row of each slot: chunk `number` earns its number, begins at it and leads to the next one."""
    values = torch.tensor(numbers, dtype=torch.float32)
    over = torch.tensor(terminated or [False] * len(numbers))
    where = torch.stack([values, -values], dim=1)
    return {"cond": where, "next_cond": where + 1, "reward": values, "discount": GAMMA * (~over).float()}


def given(rows: Rows | None) -> list[tuple[float, float, float, float]]:
    """(beginning, where it leads, reward, discount) of each."""
    if rows is None:
        return []
    columns = (rows["cond"][:, 0], rows["next_cond"][:, 0], rows["reward"], rows["discount"])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def feed(returns: NStep, numbers: list[int], ended: list[bool], terminated: list[bool] | None = None) -> list[tuple]:
    return given(returns.push(row(numbers, terminated), torch.tensor(ended)))


def test_one_step_is_what_was_pushed() -> None:
    returns = NStep(1, 2, EXAMPLE)
    assert feed(returns, [1, 2], [False, True], [False, True]) == [(1, 2, 1, GAMMA), (2, 3, 2, 0.0)]


def test_rewards_of_three_chunks() -> None:
    returns = NStep(3, 1, EXAMPLE)
    assert feed(returns, [1], [False]) == []
    assert feed(returns, [2], [False]) == []
    assert feed(returns, [3], [False]) == [(1, 4, 1 + 2 * GAMMA + 3 * GAMMA**2, GAMMA**3)]
    assert feed(returns, [4], [False]) == [(2, 5, 2 + 3 * GAMMA + 4 * GAMMA**2, GAMMA**3)]


@pytest.mark.parametrize("terminated", [True, False], ids=["terminated", "truncated"])
def test_an_episode_gives_out_all_that_it_has(terminated: bool) -> None:
    """A terminal has nothing behind it; a time limit is bootstrapped, over as many chunks as there were."""
    returns = NStep(3, 1, EXAMPLE)
    feed(returns, [1], [False])
    left = 0.0 if terminated else 1.0
    assert feed(returns, [2], [True], [terminated]) == [
        (1, 3, 1 + 2 * GAMMA, left * GAMMA**2),
        (2, 3, 2, left * GAMMA),
    ]
    assert feed(returns, [7], [False]) == [], "nothing of the last episode is left"


def test_slots_do_not_mix() -> None:
    returns = NStep(2, 2, EXAMPLE)
    assert feed(returns, [1, 10], [False, True]) == [(10, 11, 10, GAMMA)]
    assert feed(returns, [2, 20], [False, False]) == [(1, 3, 1 + 2 * GAMMA, GAMMA**2)]
    assert feed(returns, [3, 30], [True, False]) == [
        (2, 4, 2 + 3 * GAMMA, GAMMA**2),
        (3, 4, 3, GAMMA),
        (20, 31, 20 + 30 * GAMMA, GAMMA**2),
    ]


def test_rows_that_were_pushed_stay_as_they_are() -> None:
    returns, first = NStep(2, 1, EXAMPLE), row([1])
    returns.push(first, torch.tensor([False]))
    returns.push(row([2]), torch.tensor([False]))
    assert given(first) == [(1, 2, 1, GAMMA)]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_random_episodes_against_the_definition(n: int) -> None:
    """Every chunk comes out once, with the discounted sum to its episode's end or over n chunks."""
    chance, returns, found = random.Random(n), NStep(n, 1, EXAMPLE), []
    episode: list[tuple[int, bool]] = []
    for number in range(1, 60):
        over = chance.random() < 0.2
        terminated = over and chance.random() < 0.5
        found += feed(returns, [number], [over], [terminated])
        episode.append((number, terminated))
        if not over:
            continue
        for index, (start, _) in enumerate(episode):
            ahead = episode[index : index + n]
            reward = sum(GAMMA**k * one for k, (one, _) in enumerate(ahead))
            discount = 0.0 if ahead[-1][1] else GAMMA ** len(ahead)
            assert found.pop(0) == pytest.approx((start, ahead[-1][0] + 1, reward, discount))
        assert not found
        episode = []


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_it_goes_on_from_its_state(n: int, before: int) -> None:
    def play(returns: NStep, numbers: range) -> list[tuple]:
        return [one for k in numbers for one in feed(returns, [k, 10 * k], [k == 5, k == 2])]

    first, second = NStep(n, 2, EXAMPLE), NStep(n, 2, EXAMPLE)
    play(first, range(before))
    play(second, range(7, 9))
    shapes = {name: value.shape for name, value in NStep(n, 2, EXAMPLE).state().items()}
    assert {name: value.shape for name, value in first.state().items()} == shapes, "of the same shapes at any time"
    second.load_state(first.state())
    assert play(second, range(before, 8)) == play(first, range(before, 8))
