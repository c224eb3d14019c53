"""Episodes that are held out: the same ones whoever asks, whole, and with all that shares steps with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminar.data.episodes import Episodes
from laminar.data.load import Selection, load_episodes
from laminar.data.on_disk import is_on_disk, on_disk
from laminar.data.spec import Feature, Spec
from laminar.data.split import held_out, overlapping
from laminar.data.split import split as split_episodes
from laminar.errors import LaminarError


def episodes_of(lengths: list[int], group: list[int] | None = None) -> Episodes:
    """Return episodes whose observations count their steps."""
    ends = np.cumsum(lengths)
    rows = np.arange(ends[-1], dtype=np.float32)[:, None]
    zeros = np.zeros(len(rows), bool)
    return Episodes(
        observation={"observation": rows},
        final_observation={"observation": rows[ends - 1]},
        action=rows.copy(),
        reward=rows[:, 0],
        terminated=zeros,
        truncated=zeros,
        ends=ends,
        spec=Spec({"observation": Feature((1,))}, Feature((1,))),
        group=None if group is None else np.array(group),
    )


@given(st.integers(2, 60), st.floats(0.001, 0.999))
def test_both_sides_have_episodes_and_share_none(count: int, share: float) -> None:
    episodes = episodes_of([3] * count)
    out = held_out(episodes, share)
    learned, tested = split_episodes(episodes, out)
    assert out == sorted(set(out))
    assert len(out) == min(max(round(share * count), 1), count - 1)
    assert learned.num_episodes + tested.num_episodes == count
    steps = np.concatenate([learned.action[:, 0], tested.action[:, 0]])
    assert sorted(steps) == list(range(3 * count)), "every step is on one side"
    assert out == held_out(episodes_of([7] * count), share), "lengths and content do not matter"


def test_nothing_is_held_out_by_default() -> None:
    assert held_out(episodes_of([3, 3]), 0.0) == []
    assert held_out(episodes_of([3]), 0) == []


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.floats(0.01, 0.99))
def test_episodes_that_share_steps_stay_together(group: list[int], share: float) -> None:
    episodes = episodes_of([2] * len(group), group)
    if len(set(group)) == 1:
        with pytest.raises(LaminarError, match="episodes that all share steps cannot be divided"):
            held_out(episodes, share)
        return
    out = held_out(episodes, share)
    inside = {group[number] for number in out}
    assert 0 < len(out) < len(group)
    assert out == [number for number, one in enumerate(group) if one in inside]


def test_one_episode_cannot_be_divided() -> None:
    with pytest.raises(LaminarError, match=r"memory: data.validation=0.1 .* one episode cannot be divided; give data"):
        held_out(episodes_of([9]), 0.1)


@pytest.mark.parametrize(
    ("spans", "same"),
    [
        ([(0, 4), (4, 8)], [0, 1]),
        ([(0, 5), (4, 8)], [0, 0]),
        ([(6, 9), (0, 5), (4, 7)], [0, 0, 0]),  # the first by way of the third
        ([(20, 30), (0, 10), (2, 4), (8, 12), (12, 14)], [2, 0, 0, 0, 1]),
    ],
)
def test_windows_that_overlap_are_one_group(spans: list[tuple[int, int]], same: list[int]) -> None:
    assert overlapping(*np.array(spans).T).tolist() == same


def test_groups_of_joined_files_are_different() -> None:
    parts = [episodes_of([2, 2], [0, 0]), episodes_of([2, 2]), episodes_of([2, 2], [0, 1])]
    joined = Episodes.concatenate(parts)
    assert joined.group is not None
    assert joined.group.tolist() == [0, 0, 1, 2, 3, 4]
    assert joined.select([4, 0]).group.tolist() == [3, 0]
    assert Episodes.concatenate([parts[1], parts[1]]).group is None


def test_annotated_windows_of_calvin_know_what_they_share(split: Path) -> None:
    assert load_episodes(split).group is None
    cut = load_episodes(split, Selection(instruction="task"))  # frames 0 to 4, 3 to 10 and 12 to 20
    assert cut.group is not None
    assert cut.group.tolist() == [0, 0, 1]
    assert held_out(cut, 0.3) == [2]


def test_pictures_stay_on_disk(tmp_path: Path) -> None:
    episodes = episodes_of([2, 3, 2])
    pixels = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = on_disk([np.load(tmp_path / "pixels.npy", mmap_mode="r")])
    seen = {**episodes.observation, "camera": mapped}
    last = {**episodes.final_observation, "camera": pixels[[1, 4, 6]]}
    spec = Spec({"observation": Feature((1,)), "camera": Feature((4, 4, 3), "uint8")}, Feature((1,)))
    pictured = replace(episodes, observation=seen, final_observation=last, spec=spec)
    learned, tested = split_episodes(pictured, [1])
    assert is_on_disk(learned.observation["camera"])
    assert is_on_disk(tested.observation["camera"])
    np.testing.assert_array_equal(np.asarray(tested.observation["camera"]), pixels[2:5])
    np.testing.assert_array_equal(np.asarray(learned.observation["camera"]), pixels[[0, 1, 5, 6]])
