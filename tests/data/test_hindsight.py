"""Windows of play that are told by where they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.calvin.hindsight import LONGEST, SHORTEST, hindsight_windows
from laminar.data.load import Selection, load_episodes
from laminar.data.split import split

SPANS = np.array([(0, 400), (500, 1700), (2000, 2010), (3000, 3000)])


def test_windows_are_spread_evenly_over_the_recordings() -> None:
    windows = hindsight_windows(SPANS, 2000)
    first, final = windows.T
    lengths = final - first
    inside = [(first >= begin) & (final <= end) for begin, end in SPANS.tolist()]
    assert np.any(inside, axis=0).all()
    steps = SPANS[:, 1] - SPANS[:, 0]
    np.testing.assert_allclose([one.mean() for one in inside], steps / steps.sum(), atol=1e-3)
    assert set(lengths[inside[2]].tolist()) == {10}, "a recording that is shorter is taken whole"
    counts = np.bincount(lengths[inside[0] | inside[1]], minlength=LONGEST + 1)
    assert counts[:SHORTEST].sum() == 0
    assert counts[SHORTEST:].min() > 0.5 * counts[SHORTEST:].mean(), "each length as often as another"
    assert len(counts) == LONGEST + 1
    covered = np.zeros(1201)
    for begin, end in windows[inside[1]].tolist():
        covered[begin - 500 : end - 500] += 1
    middle = covered[LONGEST:-LONGEST]
    assert middle.std() < 0.1 * middle.mean()
    np.testing.assert_array_equal(windows, hindsight_windows(SPANS, 2000))


def test_no_windows_of_nothing() -> None:
    assert hindsight_windows(SPANS, 0).shape == hindsight_windows(SPANS[3:], 5).shape == (0, 2)


@pytest.fixture
def annotated(calvin: Any, tmp_path: Path) -> Path:
    calvin.usual_split(tmp_path / "training", [(0, 40), (50, 90)])
    calvin.annotate(tmp_path / "training", [(0, 4), (55, 70)], ["open_drawer", "close_drawer"])
    return tmp_path


@pytest.mark.parametrize("kind", ["scene_obs", "room_obs"])
def test_each_episode_is_told_by_its_instruction_or_by_its_end(annotated: Path, kind: str) -> None:
    chosen = Selection(("robot_obs", kind), instruction="task", goals=3)
    episodes = load_episodes(annotated, chosen)
    assert list(episodes.observation) == ["robot_obs", kind, "instruction", "goal"]
    goal = episodes.spec.observation["goal"]
    assert (goal.unit, goal.shape) == (kind, episodes.spec.observation[kind].shape)
    assert episodes.num_episodes == 2 + 2 + 3
    first = np.concatenate([[0], episodes.ends[:-1]])
    frames = episodes.observation["robot_obs"][:, 0]  # the number of each
    assert frames[first[:4]].tolist() == [0, 55, 0, 55]
    windows = hindsight_windows(np.array([(0, 40), (50, 90)]), 3)
    assert frames[first[4:]].tolist() == windows[:, 0].tolist()
    assert episodes.final_observation["robot_obs"][4:, 0].tolist() == windows[:, 1].tolist()
    for episode, (begin, end) in enumerate(zip(first, episodes.ends, strict=True)):
        told, reached = (episodes.observation[key][begin:end] for key in ("instruction", "goal"))
        if episode < 2:
            assert told.sum() == end - begin
            assert not reached.any()
        else:
            assert not told.any()
            np.testing.assert_array_equal(reached, episodes.final_observation[kind][episode] + 0 * reached)
        np.testing.assert_array_equal(episodes.final_observation["goal"][episode], reached[-1])
    assert episodes.success is not None
    assert episodes.success.all()
    assert episodes.reward.sum() == 7
    assert any("2 annotated windows once more, and 3 of whole recordings" in remark for remark in episodes.remarks)


def test_those_that_share_frames_are_held_out_together(annotated: Path) -> None:
    episodes = load_episodes(annotated, Selection(instruction="task", goals=4))
    assert episodes.group is not None
    first = np.concatenate([[0], episodes.ends[:-1]])
    recording = episodes.observation["robot_obs"][first, 0] >= 50
    for group in set(episodes.group.tolist()):
        assert len(set(recording[episodes.group == group].tolist())) == 1
    assert episodes.group[0] == episodes.group[2], "the same window, told otherwise"
    learned, held_out = split(episodes, [0, 2])
    assert (learned.num_episodes, held_out.num_episodes) == (6, 2)


def test_without_instructions_goals_are_all_that_is_told(annotated: Path) -> None:
    episodes = load_episodes(annotated, Selection(goals=5))
    assert list(episodes.observation) == ["robot_obs", "scene_obs", "goal"]
    assert episodes.num_episodes == 5
    assert episodes.success is not None
    assert episodes.success.all()


@pytest.mark.parametrize(
    ("selected", "told"),
    [
        ({"goals": 0}, "data.goals=0 needs data.instruction"),
        (
            {"goals": 2, "observation": ("robot_obs",)},
            "data.observation=['robot_obs', 'goal'] shows none; name room_obs",
        ),
        ({"observation": ("scene_obs", "goal")}, "data.observation names 'goal': say how many windows more"),
    ],
)
def test_goals_that_there_cannot_be(calvin: Any, annotated: Path, selected: dict[str, Any], told: str) -> None:
    assert told in calvin.error_of(annotated, **selected)


def test_other_formats_have_none(tmp_path: Path, calvin: Any) -> None:
    assert "data.goals=1 chooses from CALVIN data, and this file is d4rl; leave data.goals out" in calvin.error_of(
        _hdf5(tmp_path), goals=1
    )


def _hdf5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "data.hdf5", "w") as file:
        file["observations"], file["actions"] = np.zeros((4, 2), "f"), np.zeros((4, 1), "f")
        file["rewards"] = np.zeros(4, "f")
        file["terminals"], file["timeouts"] = np.zeros(4, bool), np.arange(4) == 3
    return folder / "data.hdf5"
