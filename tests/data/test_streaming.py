"""Images on disk give the same batches as images in memory, without being copied into it."""

from __future__ import annotations

import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.batches import Chunks, Sequences
from laminar.data.episodes import Episodes
from laminar.data.on_disk import OnDisk, join, on_disk
from laminar.data.prefetch import Prefetch
from laminar.data.spec import Feature, Spec
from laminar.data.transitions import Transitions


def make_episodes(lengths: list[int], size: int = 4) -> Episodes:
    steps, count = sum(lengths), len(lengths)
    rng = np.random.default_rng(steps)
    ends = np.cumsum(lengths)
    last = np.isin(np.arange(steps), ends - 1)
    return Episodes(
        observation={
            "image": rng.integers(0, 256, (steps, size, size, 3), dtype=np.uint8),
            "state": rng.normal(size=(steps, 3)).astype("f"),
            "depth": rng.normal(size=(steps, 2, 2)).astype("f"),
        },
        final_observation={
            "image": rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8),
            "state": rng.normal(size=(count, 3)).astype("f"),
            "depth": rng.normal(size=(count, 2, 2)).astype("f"),
        },
        action=rng.normal(size=(steps, 2)).astype("f"),
        reward=rng.normal(size=steps).astype("f"),
        terminated=np.zeros(steps, bool),
        truncated=last,
        ends=ends,
        spec=Spec(
            {"image": Feature((size, size, 3), "uint8"), "state": Feature((3,)), "depth": Feature((2, 2))},
            Feature((2,)),
        ),
    )


def map_array(path: Path, value: np.ndarray) -> np.ndarray:
    np.save(path, value)
    return np.load(path, mmap_mode="r")


def put_on_disk(episodes: Episodes, folder: Path) -> Episodes:
    """Return the same episodes with image and depth in memory-mapped files, scattered over them."""
    observation, final = dict(episodes.observation), dict(episodes.final_observation)
    for key in ("image", "depth"):
        rows = np.random.default_rng(1).permutation(len(episodes))
        source = np.empty_like(observation[key])
        source[rows] = observation[key]
        observation[key] = on_disk([map_array(folder / f"{key}.npy", source)], rows)
        final[key] = on_disk([map_array(folder / f"{key}-final.npy", final[key])])
    return replace(episodes, observation=observation, final_observation=final)


def assert_same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, dict):
            assert_same(value, other[key])
        else:
            assert value.dtype == other[key].dtype
            assert torch.equal(value, other[key])


@pytest.mark.parametrize("history", range(1, 6))
@pytest.mark.parametrize("chunk", range(1, 6))
def test_chunks_from_disk_equal_those_from_memory(tmp_path: Path, history: int, chunk: int) -> None:
    for length in range(1, 6):
        episodes = make_episodes([length, 7 - length, length])
        index = torch.arange(len(episodes)).flip(0)
        options = {"history": history, "chunk": chunk, "short_episodes": "pad"}
        memory, disk = (Chunks(e, **options) for e in (episodes, put_on_disk(episodes, tmp_path)))  # type: ignore[arg-type]
        assert_same(memory.gather(index), disk.gather(index))
        assert (memory.reads_disk, disk.reads_disk) == (False, True)


@pytest.mark.parametrize("length", range(1, 5))
@pytest.mark.parametrize("stride", [1, 2])
def test_sequences_from_disk_equal_those_from_memory(tmp_path: Path, length: int, stride: int) -> None:
    episodes = make_episodes([6, 2, 7, 1, 4])
    memory, disk = (Sequences(e, length, stride) for e in (episodes, put_on_disk(episodes, tmp_path)))
    index = torch.arange(len(memory))
    assert_same(memory.gather(index), disk.gather(index))
    assert disk.reads_disk


@pytest.mark.parametrize(("history", "chunk", "n_step"), [(1, 1, 1), (2, 1, 3), (3, 2, 1), (2, 2, 4)])
def test_transitions_from_disk_equal_those_from_memory(tmp_path: Path, history: int, chunk: int, n_step: int) -> None:
    episodes = make_episodes([6, 2, 7, 1])
    options = {"history": history, "chunk": chunk, "n_step": n_step}
    memory, disk = (Transitions(e, **options) for e in (episodes, put_on_disk(episodes, tmp_path)))
    assert_same(memory.gather(torch.arange(len(memory))), disk.gather(torch.arange(len(memory))))
    assert (memory.reads_disk, disk.reads_disk) == (False, True)


def test_memory_mapped_images_are_left_on_disk(tmp_path: Path) -> None:
    episodes = make_episodes([6, 4])
    mapped = map_array(tmp_path / "image.npy", episodes.observation["image"])
    disk = replace(episodes, observation=episodes.observation | {"image": mapped})
    assert isinstance(disk.observation["image"], OnDisk)
    sampler = Chunks(disk, 2, 3)
    assert sampler.reads_disk
    assert_same(Chunks(episodes, 2, 3).gather(torch.arange(10)), sampler.gather(torch.arange(10)))


@pytest.mark.parametrize(
    "make", [Transitions, lambda e: Chunks(e, 3, 4, short_episodes="pad"), lambda e: Sequences(e, 4)]
)
def test_images_are_not_copied_into_memory(tmp_path: Path, make: Any) -> None:
    episodes = put_on_disk(make_episodes([120, 80, 100], size=64), tmp_path)  # 3.7 MB of images
    size = int(np.prod(episodes.observation["image"].shape))
    tracemalloc.start()
    sampler = make(episodes.select([0, 2, 1]))
    batch = sampler.gather(torch.arange(4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert batch["observation"]["image"].dtype == torch.uint8
    assert peak < size / 4


def test_an_array_on_disk_behaves_like_the_array(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 2, 3), dtype=np.uint8)
    array: Any = on_disk([map_array(tmp_path / "a.npy", values)])
    assert (array.shape, array.dtype, array.ndim, len(array)) == (values.shape, values.dtype, 3, 9)
    for index in (slice(2, 7), slice(None, None, -2), np.array([3, 3, 0]), values[:, 0, 0] > 99, np.zeros(0, int)):
        part = array[index]
        assert isinstance(part, OnDisk)
        np.testing.assert_array_equal(part, values[index])
        np.testing.assert_array_equal(part[::-1], values[index][::-1])
    np.testing.assert_array_equal(array[-2], values[-2])
    np.testing.assert_array_equal(array.read(np.array([[0, 8], [4, -1]])), values[[[0, 8], [4, 8]]])
    assert np.asarray(array, np.float32).dtype == np.float32
    with pytest.raises(IndexError):
        _ = array[9]


def test_joined_arrays_read_from_each_file(tmp_path: Path) -> None:
    parts = [np.random.default_rng(i).integers(0, 256, (4 + i, 2, 2), dtype=np.uint8) for i in range(3)]
    mapped = [on_disk([map_array(tmp_path / f"{i}.npy", part)])[::-1] for i, part in enumerate(parts[:2])]
    joined: Any = join([*mapped, parts[2]])
    expected = np.concatenate([parts[0][::-1], parts[1][::-1], parts[2]])
    np.testing.assert_array_equal(joined, expected)
    index = np.random.default_rng(9).permutation(len(expected))
    np.testing.assert_array_equal(joined[index], expected[index])
    assert isinstance(join(parts), np.ndarray)


# --- one batch ahead ----------------------------------------------------------------------------------------------


def prefetched(sampler: Chunks, seed: int) -> tuple[Prefetch[Any, Any], torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return Prefetch(lambda: sampler.draw(8, generator), sampler.gather, generator), generator


def test_prefetching_changes_no_batch(tmp_path: Path) -> None:
    sampler = Chunks(put_on_disk(make_episodes([20, 30]), tmp_path), 2, 3)
    batches, _ = prefetched(sampler, 4)
    generator = torch.Generator().manual_seed(4)
    for _ in range(10):
        assert_same(batches.next(), sampler.sample(8, generator))
    batches.close()


def test_a_resume_continues_with_the_batch_under_way(tmp_path: Path) -> None:
    sampler = Chunks(put_on_disk(make_episodes([20, 30]), tmp_path), 2, 3)
    batches, _ = prefetched(sampler, 4)
    assert torch.equal(batches.state(), torch.Generator().manual_seed(4).get_state())
    for _ in range(3):
        batches.next()
    state = batches.state().clone()
    expected = [batches.next() for _ in range(3)]
    batches.close()
    for seed in (99, 4):
        again, generator = prefetched(sampler, seed)
        again.next()
        generator.set_state(state)
        again.restart()
        assert torch.equal(again.state(), state)
        for batch in expected:
            assert_same(again.next(), batch)
        again.close()


def test_the_next_batch_is_gathered_meanwhile() -> None:
    started, allowed = threading.Event(), threading.Event()
    numbers = iter(range(10))

    def gather(number: int) -> int:
        if number == 1:
            started.set()
            allowed.wait(10)
        return number

    batches = Prefetch(lambda: next(numbers), gather, torch.Generator())
    assert batches.next() == 0
    assert started.wait(10)  # batch 1 is being gathered while this thread has the word
    allowed.set()
    assert [batches.next() for _ in range(3)] == [1, 2, 3]
    batches.close()


def test_errors_in_the_thread_are_raised_where_the_batch_is_asked_for() -> None:
    def gather(number: int) -> int:
        if number == 2:
            raise OSError("disk gone")
        return number

    numbers = iter(range(10))
    batches = Prefetch(lambda: next(numbers), gather, torch.Generator())
    assert [batches.next(), batches.next()] == [0, 1]
    with pytest.raises(OSError, match="disk gone"):
        batches.next()
    batches.close()


def test_closing_ends_the_thread() -> None:
    batches = Prefetch(lambda: 0, lambda number: time.sleep(0.05) or number, torch.Generator())
    batches.next()
    assert any(thread.name.startswith("prefetch") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("prefetch") and thread.is_alive() for thread in threading.enumerate())
