"""OGBench's files in the three forms that its own `load_dataset` knows; expected values are made as it makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.load import load_episodes
from laminar.data.on_disk import OnDisk
from laminar.errors import LaminarError

LAST = np.isin(np.arange(14), (5, 13))  # rows of the sample that only give a final observation


def regular(path: Path) -> dict[str, np.ndarray]:
    """Return the rows of the regular form: steps alone, each with its next observation."""
    with np.load(path) as stored:
        raw = dict(stored)
    following = np.concatenate([[False], ~LAST[:-1]])
    ends = np.concatenate([LAST[1:], [True]])[~LAST]
    rows = {key: value[~LAST] for key, value in raw.items()}
    return rows | {"next_observations": raw["observations"][following], "terminals": ends.astype("f")}


def error_of(path: Path) -> str:
    with pytest.raises(LaminarError) as caught:
        load_episodes(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["published", "compact", "regular"])
def test_the_three_forms_say_the_same(samples: Any, form: str, tmp_path: Path) -> None:
    path = samples.ogbench(tmp_path)
    expected = regular(path)
    if form == "compact":
        ends = np.minimum(LAST + np.concatenate([LAST[1:], [True]]), 1.0).astype("f")
        path = samples.ogbench(tmp_path, valids=1.0 - LAST, terminals=ends)
    elif form == "regular":
        path = samples.ogbench(tmp_path, **expected)
    episodes = load_episodes(path)
    assert episodes.lengths.tolist() == [5, 7]
    np.testing.assert_array_equal(episodes.observation["observation"], expected["observations"])
    np.testing.assert_array_equal(episodes.next_observation("observation"), expected["next_observations"])
    np.testing.assert_array_equal(episodes.action, expected["actions"])
    np.testing.assert_array_equal(episodes.infos["qpos"], expected["qpos"])
    assert episodes.truncated.nonzero()[0].tolist() == [4, 11]
    assert not episodes.has_reward
    assert episodes.spec.action_low == (-1.0, -1.0)


def test_masks_say_where_the_goal_was_reached(samples: Any, tmp_path: Path) -> None:
    reached = np.isin(np.arange(14), (2, 9))
    path = samples.ogbench(tmp_path, rewards=reached - 1.0, masks=1.0 - reached)
    episodes = load_episodes(path)
    assert episodes.lengths.tolist() == [5, 7]
    assert episodes.terminated.nonzero()[0].tolist() == [2, 8]
    assert episodes.truncated.nonzero()[0].tolist() == [4, 11]
    assert episodes.success is not None
    assert episodes.success.tolist() == [True, True]
    assert episodes.reward[[2, 8]].tolist() == [0, 0]
    np.testing.assert_array_equal(episodes.next_observation("observation"), regular(path)["next_observations"])
    assert "the goal is reached in 2 steps after which the recording goes on" in episodes.remarks


def test_a_goal_at_the_end_cuts_nothing_off(samples: Any, tmp_path: Path) -> None:
    reached = np.isin(np.arange(14), (4, 12))
    episodes = load_episodes(samples.ogbench(tmp_path, rewards=reached - 1.0, masks=1.0 - reached))
    assert episodes.terminated.nonzero()[0].tolist() == [4, 11]
    assert not episodes.truncated.any()
    assert not any("goes on" in remark for remark in episodes.remarks)


def test_pictures_stay_on_disk(samples: Any, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (14, 9, 9, 3), np.uint8)
    episodes = load_episodes(samples.ogbench(tmp_path, observations=pictures))
    assert isinstance(episodes.observation["observation"], OnDisk)
    np.testing.assert_array_equal(episodes.observation["observation"], pictures[~LAST])
    np.testing.assert_array_equal(episodes.final_observation["observation"], pictures[LAST])


def test_the_validation_set_is_told(samples: Any, tmp_path: Path) -> None:
    path = samples.ogbench(tmp_path)
    path.with_name("play-v0-val.npz").write_bytes(path.read_bytes())
    assert "play-v0-val.npz beside it, the validation set, is a file of its own" in load_episodes(path).remarks


def test_an_end_that_is_not_marked(samples: Any, tmp_path: Path) -> None:
    episodes = load_episodes(samples.ogbench(tmp_path, terminals=np.arange(14) == 5))
    assert episodes.lengths.tolist() == [5, 7]
    assert "'terminals' does not mark the last row" in "\n".join(episodes.remarks)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"actions": np.zeros((13, 2), "f")}, "'observations' has 14 rows but 'actions' has 13"),
        ({"terminals": np.full(14, 0.5)}, "'terminals' holds values other than 0 and 1"),
        ({"terminals": np.ones(14)}, "no episodes, every row is the last of its trajectory"),
        ({"valids": np.ones(14)}, "'valids' and 'terminals' contradict each other in 1 rows, first in row 13"),
        ({"actions": np.array([{}] * 14)}, "'actions' holds no rows of numbers"),
        ({"actions": np.zeros((14, 2), int)}, "'actions' holds int64 (discrete actions)"),
        ({"observations": np.full((14, 3), np.nan)}, "observation 'observation' is not finite"),
    ],
)
def test_mistakes(samples: Any, changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert told in error_of(samples.ogbench(tmp_path, **changes))


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_damaged_files(samples: Any, share: float, tmp_path: Path) -> None:
    path = samples.ogbench(tmp_path)
    content = bytearray(path.read_bytes())
    place = int(len(content) * share)
    content[place : place + 30] = bytes(30)
    path.write_bytes(bytes(content))
    assert "damaged" in error_of(path)
