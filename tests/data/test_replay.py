"""Experience that grows: a ring of rows, draws from what is filled, an exact resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from laminar.data.replay import Replay
from laminar.errors import LaminarError

CAPACITY = 10
# operators whose result the host must wait for: a number, or a size that depends on values
SYNCS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal", "unique", "_unique2"}


def rows(first: int, count: int) -> dict[str, Any]:
    """Return rows that carry their number in every value."""
    number = torch.arange(first, first + count)
    return {
        "observation": {"state": number.float()[:, None].expand(-1, 3), "pixels": number[:, None, None].byte()},
        "action": number.float()[:, None, None].expand(-1, 2, 4),
        "done": number % 2 == 0,
    }


def numbers(replay: Replay) -> list[int]:
    """Numbers of the rows in their places; every value of a row must tell the same."""
    batch = replay.gather(torch.arange(len(replay)))
    found = batch["action"][:, 0, 0]
    assert torch.equal(batch["action"], found[:, None, None].expand(-1, 2, 4))
    assert torch.equal(batch["observation"]["state"], found[:, None].expand(-1, 3))
    assert torch.equal(batch["observation"]["pixels"][:, 0, 0], found.byte())
    assert torch.equal(batch["done"], found % 2 == 0)
    return [int(number) for number in found]


def filled(*counts: int) -> Replay:
    replay, first = Replay(rows(0, 1), CAPACITY), 0
    for count in counts:
        replay.add(rows(first, count))
        first += count
    return replay


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rows_are_kept_as_they_are() -> None:
    replay = filled(3, 4)
    assert len(replay) == 7
    assert numbers(replay) == [0, 1, 2, 3, 4, 5, 6]
    batch = replay.gather(torch.tensor([5, 5, 0]))
    assert batch.keys() == rows(0, 1).keys()
    assert batch["observation"]["pixels"].dtype == torch.uint8
    assert batch["done"].dtype == torch.bool
    assert batch["action"][:, 0, 0].tolist() == [5, 5, 0]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((10,), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ((8, 5), [10, 11, 12, 3, 4, 5, 6, 7, 8, 9]),  # over the end within one addition
        ((6, 6, 10), [20, 21, 12, 13, 14, 15, 16, 17, 18, 19]),
        ((25,), [20, 21, 22, 23, 24, 15, 16, 17, 18, 19]),  # more than fit: the last ones
        ((3, 23, 1), [20, 21, 22, 23, 24, 25, 26, 17, 18, 19]),
    ],
)
def test_the_oldest_rows_make_room(counts: tuple[int, ...], expected: list[int]) -> None:
    replay = filled(*counts)
    assert len(replay) == CAPACITY
    assert numbers(replay) == expected


def test_the_example_is_no_row() -> None:
    assert len(Replay(rows(7, 5), CAPACITY)) == 0


def test_an_empty_replay_cannot_be_drawn_from() -> None:
    with pytest.raises(LaminarError, match="the replay is empty: collect experience, or add recordings"):
        Replay(rows(0, 1), CAPACITY).draw(4, generator())


@pytest.mark.parametrize("count", [1, 3, 10, 13])
def test_draws_are_even_over_the_filled_rows(count: int) -> None:
    replay = filled(count)
    index = replay.draw(20_000, generator())
    assert index.dtype == torch.int64
    shares = torch.bincount(index, minlength=CAPACITY) / len(index)
    expected = torch.zeros(CAPACITY)
    expected[: len(replay)] = 1 / len(replay)
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.015)  # four standard deviations
    assert index.max() < len(replay), "a row that is not filled"


def test_draws_are_the_generators() -> None:
    replay = filled(7)
    state = torch.get_rng_state()
    assert torch.equal(replay.draw(8, generator(1)), replay.draw(8, generator(1)))
    assert not torch.equal(replay.draw(8, generator(1)), replay.draw(8, generator(2)))
    assert torch.equal(torch.get_rng_state(), state)


class Calls(TorchDispatchMode):
    """Remembers the operators that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device() -> None:
    """And the count is a tensor, so that a captured draw sees rows that came later."""
    replay, source = filled(3), generator()
    with Calls() as calls:
        index = replay.draw(8, source)
        replay.gather(index)
        replay.add(rows(3, 4))
    assert {"rand", "index_select"} <= calls.names, "nothing was seen"
    assert not SYNCS & calls.names
    count = replay._count
    replay.add(rows(7, 1))
    assert replay._count is count
    assert count == len(replay)


def test_tensors_stay_where_they_are() -> None:
    replay = filled(3)
    places = [value.data_ptr() for value in replay._rows.values()]
    replay.add(rows(3, 25))
    replay.load_state({name: value.clone() for name, value in replay.state().items()})
    assert [value.data_ptr() for value in replay._rows.values()] == places


@pytest.mark.parametrize("counts", [(4,), (10,), (8, 5), (25,)])
def test_it_resumes_to_the_bit(counts: tuple[int, ...], tmp_path: Path) -> None:
    replay, other = filled(*counts), Replay(rows(0, 1), CAPACITY)
    state = replay.state()
    assert all(len(value) == len(replay) for value in state.values() if value.dim()), "only filled rows"
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "replay.safetensors")
    other.load_state(load_file(tmp_path / "replay.safetensors"))
    for one in (replay, other):
        one.add(rows(100, 3))  # goes on at the same place
    assert numbers(other) == numbers(replay)
    assert torch.equal(other.draw(50, generator()), replay.draw(50, generator()))
    theirs = replay.state()
    assert other.state().keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in other.state().items())


def test_kept_rows_stay_and_are_drawn_by_their_share() -> None:
    replay = Replay(rows(0, 1), 8)
    replay.add(rows(0, 3))
    kept = replay.gather(torch.arange(3))
    replay.keep()
    replay.add(rows(50, 12))  # more than the five places that are left
    again = Replay(rows(0, 1), 8)
    again.load_state(replay.state())
    for one in (replay, again):
        assert torch.equal(one.gather(torch.arange(3))["action"], kept["action"])
        index = one.draw(40, generator(), kept=0.25)
        assert bool((index[:10] < 3).all())
        assert index[10:].max() > 2
    replay.add(rows(70, 1))
    again.add(rows(70, 1))  # at the same place
    assert torch.equal(replay.gather(torch.arange(8))["action"], again.gather(torch.arange(8))["action"])


def test_rows_that_are_kept_leave_room() -> None:
    replay = Replay(rows(0, 1), 3)
    replay.add(rows(0, 3))
    with pytest.raises(LaminarError, match="room for 3 rows, and as many recorded ones fill it"):
        replay.keep()


def changed(**values: Tensor) -> dict[str, Any]:
    return {**rows(0, 2), **values}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            changed(action=torch.zeros(2, 2, 3)),
            r"'action' of the replay has rows \(2, 4\) of torch.float32, got \(2, 3\)",
        ),
        (changed(action=torch.zeros(2, 2, 4).double()), r"'action' .* got \(2, 4\) of torch.float64"),
        (changed(reward=torch.zeros(2)), "the replay holds .*'done'.*, got .*'reward'"),
        ({"action": torch.zeros(2, 2, 4)}, "the replay holds .*'observation/state'.*, got .'action'."),
        (changed(observation={"state": torch.zeros(2, 3)}), "the replay holds .*'observation/pixels'"),
    ],
)
def test_other_rows_are_refused(given: dict[str, Any], message: str) -> None:
    replay = filled(3)
    with pytest.raises(LaminarError, match=message):
        replay.add(given)
    assert numbers(replay) == [0, 1, 2]


def test_another_state_is_refused() -> None:
    large = filled(8)
    small = Replay(rows(0, 1), 5)
    with pytest.raises(LaminarError, match="the saved replay has 8 rows, and there is room for 5"):
        small.load_state(large.state())
    with pytest.raises(LaminarError, match=r"'action' of the replay has rows \(2, 4\)"):
        large.load_state(large.state() | {"action": torch.zeros(8, 1)})
    assert numbers(large) == list(range(8))


def test_no_room_is_refused() -> None:
    with pytest.raises(LaminarError, match="capacity is 0, it must be at least 1"):
        Replay(rows(0, 1), 0)
