"""Arrays of a user's own, written and read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

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
        "hand": {"left": {"open": np.ones((6, 1))}},
    }
    found = laminar.load_episodes(write_episodes(tmp_path / "demos.hdf5", [episode(observation=seen)]))
    assert {key: (value.shape, value.dtype) for key, value in found.observation.items()} == {
        "joints": ((5, 2), np.float32),
        "camera": ((5, 8, 8, 3), np.uint8),
        "force": ((5, 1), np.float32),
        "hand/left/open": ((5, 1), np.float32),
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
    with pytest.raises(LaminarError, match="exists already; choose another path, or give overwrite=True"):
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
        (lambda: [rewarded(), episode(success=True)], "episode 1 is not like episode 0: with rewards: False and True"),
        (lambda: [rewarded(), rewarded(success=None)], "episode 1 is not like episode 0: with success: False and True"),
        (lambda: None, "the episodes are a NoneType; give a list of dictionaries"),
        (
            lambda: [episode(observation={})],
            "episode 0 has no observations; give an array, or a dictionary of at least",
        ),
        (lambda: [episode(observation=3.0)], "observation 'observation' is a single number for 5 actions; give rows"),
        (lambda: [episode(observation=torch.zeros(6, 3, requires_grad=True))], "is no array (Can't call numpy()"),
        (lambda: [episode(observation=torch.zeros(6, 3, dtype=torch.bfloat16))], "is no array (Got unsupported"),
        (lambda: [episode(terminated="no")], "episode 0: terminated holds <U2; give numbers"),
        (lambda: [episode(success="False")], "episode 0: success holds <U5; give numbers"),
        (lambda: [episode(success=np.nan)], "success holds values other than 0 and 1; give True or False"),
        (lambda: [episode(observation={"/arm": np.zeros((6, 3))})], "'/arm' cannot name an observation"),
        (lambda: [episode(observation={"": np.zeros((6, 3))})], "'' cannot name an observation"),
        (lambda: [episode(observation={"a\0b": np.zeros((6, 3))})], "cannot name an observation; give a word"),
        (
            lambda: [episode(observation={"arm": np.zeros((6, 3)), "arm/q": np.zeros((6, 3))})],
            "observation 'arm' is an array, and has others below it; rename one",
        ),
        (
            lambda: [episode(observation={1: np.zeros((6, 3)), "1": np.zeros((6, 3))})],
            "observation '1' is there twice; give each a key of its own",
        ),
        (
            lambda: [
                episode(observation=np.zeros((6, 4, 4, 3), np.uint8)),
                episode(observation=np.zeros((6, 4, 4, 3))),
            ],
            "episode 1 is not like episode 0: pictures of {'observation': 'float64'} and {'observation': 'uint8'}",
        ),
        (lambda: [episode(observation=np.zeros((6, 3, 64, 64), np.uint8))], "array.transpose(0, 2, 3, 1)"),
        (lambda: [episode(observation=np.zeros((6, 64, 64, 3)))], "pictures of float64; give bytes (uint8), 0 to 255"),
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
        ({"action_low": [-1, -1]}, "give both action_low and action_high, or none of them"),
        ({"action_names": ["a"]}, "action_names has 1 names for 2 actions"),
        ({"action_names": ["a", "a"]}, "holds an empty name, or one twice; give a name of its own to each"),
        ({"action_low": "ab", "action_high": [1, 1]}, "action_low is 'ab'; give one number for each"),
        ({"action_low": [np.nan] * 2, "action_high": [1, 1]}, "action limits are inverted, or no numbers"),
        ({"rate_hz": 0}, "control rate must be above 0 Hz and finite, got 0"),
        ({"rate_hz": np.inf}, "control rate must be above 0 Hz and finite, got inf"),
        ({"rate_hz": "20"}, "rate_hz is '20'; give a number, such as 20"),
    ],
)
def test_wrong_limits(tmp_path: Path, settings: Episode, told: str) -> None:
    with pytest.raises(LaminarError) as error:
        write_episodes(tmp_path / "demos.hdf5", [episode()], **settings)
    assert told in str(error.value)


def test_one_limit_for_all(tmp_path: Path) -> None:
    path = write_episodes(tmp_path / "demos.hdf5", [episode()], action_low=-2, action_high=np.float32(2))
    spec = laminar.load_episodes(path).spec
    assert (spec.action_low, spec.action_high) == ((-2.0, -2.0), (2.0, 2.0))
