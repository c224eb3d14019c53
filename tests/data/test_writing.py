"""Arrays of a user's own, written and read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import laminar
from laminar.cli import main
from laminar.data.writing import write_episodes
from laminar.errors import LaminarError

Episode = dict[str, Any]


def episode(steps: int = 5, **changed: Any) -> Episode:
    rng = np.random.default_rng(steps)
    made = {"observation": rng.normal(size=(steps + 1, 3)), "action": rng.normal(size=(steps, 2))}
    return {key: value for key, value in (made | changed).items() if value is not None}


def rewarded(steps: int = 5, **changed: Any) -> Episode:
    return episode(steps, **({"reward": np.arange(steps), "success": True} | changed))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    episodes = [rewarded(5, terminated=True), rewarded(3, success=False), rewarded(1, terminated=[True])]
    path = write_episodes(
        tmp_path / "new/demos.hdf5",
        episodes,
        action_low=np.full(2, -3),
        action_high=[3, 3],
        action_names=["shoulder", "elbow"],
        rate_hz=20,
    )
    found = laminar.load_episodes(path)
    assert found.lengths.tolist() == [5, 3, 1]
    assert found.remarks == []
    for number, one in enumerate(episodes):
        rows = slice(found.starts[number], found.ends[number])
        np.testing.assert_array_equal(
            found.observation["observation"][rows], one["observation"][:-1].astype(np.float32)
        )
        np.testing.assert_array_equal(
            found.final_observation["observation"][number], one["observation"][-1].astype(np.float32)
        )
        np.testing.assert_array_equal(found.action[rows], one["action"].astype(np.float32))
        np.testing.assert_array_equal(found.reward[rows], one["reward"])
    assert found.terminated[found.ends - 1].tolist() == [True, False, True]
    assert found.truncated[found.ends - 1].tolist() == [False, True, False]
    assert found.success is not None
    assert found.success.tolist() == [True, False, True]
    assert found.has_reward
    assert (found.spec.action_low, found.spec.action_high, found.spec.rate_hz) == ((-3.0, -3.0), (3.0, 3.0), 20.0)
    assert found.spec.action.names == ("shoulder", "elbow")


def test_several_sensors(tmp_path: Path) -> None:
    seen = {
        "joints": np.linspace(0, 1, 12).reshape(6, 2),
        "camera": np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3), np.uint8),
        "force": list(range(6)),  # one number a step
    }
    found = laminar.load_episodes(write_episodes(tmp_path / "demos.hdf5", [episode(observation=seen)]))
    assert {key: (value.shape, value.dtype) for key, value in found.observation.items()} == {
        "joints": ((5, 2), np.float32),
        "camera": ((5, 8, 8, 3), np.uint8),
        "force": ((5, 1), np.float32),
    }
    np.testing.assert_array_equal(found.observation["camera"], seen["camera"][:-1])


@pytest.mark.parametrize("changed", [{}, {"reward": np.ones(5), "terminated": True}])
def test_the_last_observation_may_be_left_out(tmp_path: Path, changed: Episode) -> None:
    """Where no update reads it: every step is kept."""
    found = laminar.load_episodes(
        write_episodes(tmp_path / "demos.hdf5", [episode(observation=np.arange(15.0).reshape(5, 3), **changed)])
    )
    assert len(found) == 5
    assert found.final_observation["observation"].tolist() == [[12.0, 13.0, 14.0]]
    assert found.has_reward == ("reward" in changed)


def test_no_rewards_are_not_zeros(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_episodes(tmp_path / "demos.hdf5", [episode()])
    with h5py.File(path) as file:
        assert "rewards" not in file
    assert main(["train", "method=dql", f"data.path={path}", f"out={tmp_path / 'run'}"]) == 2
    assert "the file has no rewards" in capsys.readouterr().err


def test_a_generator_and_a_selection(tmp_path: Path) -> None:
    path = write_episodes(tmp_path / "all.hdf5", (rewarded(n, success=n > 2) for n in (1, 2, 3, 4)), action_names="ab")
    episodes = laminar.load_episodes(path)
    assert episodes.success is not None
    good = episodes.select(np.flatnonzero(episodes.success))
    found = laminar.load_episodes(write_episodes(tmp_path / "good.hdf5", good))
    assert found.lengths.tolist() == [3, 4]
    assert found.spec == episodes.spec
    with pytest.raises(LaminarError, match="limits, names and rate in their spec"):
        write_episodes(tmp_path / "other.hdf5", good, rate_hz=5)


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    path = write_episodes(tmp_path / "demos.hdf5", [episode()])
    before = path.read_bytes()
    with pytest.raises(LaminarError, match="exists already"):
        write_episodes(path, [episode(3)])
    with pytest.raises(LaminarError, match="episode 1"):
        write_episodes(path, [episode(3), episode(action=None)], overwrite=True)
    assert path.read_bytes() == before
    write_episodes(path, [episode(3)], overwrite=True)
    assert len(laminar.load_episodes(path)) == 3


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: [], "no episodes to write; give at least one"),
        (lambda: [np.zeros(3)], "episode 0 is a ndarray; give a dictionary with observation, action"),
        (lambda: [episode(), episode(action=None)], "episode 1 lacks 'action' (it has observation)"),
        (
            lambda: [episode(actions=1)],
            "episode 0 has 'actions' (known: observation, action, reward, ",
        ),
        (lambda: [episode(action=np.zeros(5))], "episode 0: action has shape (5,); give (steps, width)"),
        (lambda: [episode(action=np.zeros((0, 2)))], "episode 0: action has shape (0, 2)"),
        (lambda: [episode(action=[["a", "b"]])], "episode 0: action holds <U1; give numbers"),
        (lambda: [episode(action=[[1, 2], [3]])], "episode 0: action is no array"),
        (lambda: [episode(observation=np.zeros((9, 3)))], "has 9 rows for 5 actions; give one before each action and"),
        (lambda: [episode(reward=np.zeros(4))], "episode 0: reward has shape (4,) for 5 actions; give one a step"),
        (lambda: [rewarded(observation=np.zeros((5, 3)))], "give 6 rows, or leave the last action out"),
        (
            lambda: [episode(terminated=[0, 1, 0, 0, 1])],
            "goes on after it terminated at step 1; end it there",
        ),
        (lambda: [episode(terminated=[True, False])], "terminated has shape (2,); give one flag, or one for each step"),
        (lambda: [episode(), episode(observation=np.zeros((6, 4)))], "episode 1 is not like episode 0: observations"),
        (lambda: [rewarded(), episode(success=True)], "episode 1 is not like episode 0: rewards False and True"),
        (lambda: [rewarded(), rewarded(success=None)], "episode 1 is not like episode 0: success False and True"),
        (lambda: [episode(action=np.full((5, 2), np.nan))], "action is not finite in 5 of 5 rows"),
    ],
)
def test_mistakes(tmp_path: Path, make: Callable[[], Any], told: str) -> None:
    with pytest.raises(LaminarError) as error:
        write_episodes(tmp_path / "demos.hdf5", make())
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"action_low": [-1], "action_high": [1]}, "action_low has 1 numbers for 2 actions"),
        ({"action_low": [-1, -1]}, "one action limit without the other"),
        ({"action_names": ["a"]}, "action_names has 1 names for 2 actions"),
        ({"rate_hz": 0}, "control rate must be above 0 Hz, got 0"),
    ],
)
def test_wrong_limits(tmp_path: Path, settings: Episode, told: str) -> None:
    with pytest.raises(LaminarError) as error:
        write_episodes(tmp_path / "demos.hdf5", [episode()], **settings)
    assert told in str(error.value)
