"""The demonstration task and its controller."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.load import load_episodes
from laminar.envs import make_env
from laminar.envs.collect import collect
from laminar.envs.suites.pointmaze import ENV_ID, WaypointController
from laminar.envs.suites.pointmaze import collect as record
from laminar.errors import LaminarError


@pytest.fixture(scope="module")
def recorded() -> Episodes:
    return record(make_env(ENV_ID), 40, seed=0)


def test_controller_always_arrives(recorded: Episodes) -> None:
    assert recorded.success is not None
    assert recorded.success.all()
    assert recorded.lengths.max() < 60
    np.testing.assert_array_equal(recorded.terminated[recorded.ends - 1], True)
    np.testing.assert_array_equal(recorded.returns(), 1.0)


def test_both_routes_are_taken(recorded: Episodes) -> None:
    height = recorded.observation["observation"][:, 1]
    over = np.array([height[a:b].mean() > 0 for a, b in zip(recorded.starts, recorded.ends, strict=True)])
    assert 0.25 < over.mean() < 0.75


def test_averaging_the_routes_is_no_route() -> None:
    """Driving straight at the goal, the mean of both modes, ends at the block."""
    env = make_env(ENV_ID)
    observation, info = env.reset(seed=0)
    for _ in range(80):
        ahead = observation[4:] - observation[:2]
        observation, _, _, truncated, info = env.step(np.clip(3 * ahead - observation[2:4], -1, 1))
    assert truncated
    assert not info["success"]
    assert observation[0] < -1.5


def test_random_actions_rarely_arrive() -> None:
    env = make_env(ENV_ID)
    random = np.random.default_rng(0)
    arrived = 0
    for seed in range(20):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(random.uniform(-1, 1, size=2))
            over = terminated or truncated
        arrived += terminated
    assert arrived <= 4


def test_recorded_actions_are_the_controller_s_not_the_disturbed_ones(recorded: Episodes) -> None:
    executed = recorded.infos["executed_action"]
    spread = (executed - recorded.action)[np.abs(executed).max(axis=1) < 1].std()
    assert 0.2 < spread < 0.4
    first = recorded.observation["observation"][: recorded.ends[0]]
    route = "over" if first[:, 1].mean() > 0 else "under"
    controller = WaypointController(route, first[0].astype(np.float64))
    repeated = np.array([controller.act(row) for row in first.astype(np.float64)])
    np.testing.assert_allclose(repeated, recorded.action[: recorded.ends[0]], atol=1e-5)


def test_same_seed_same_recording(recorded: Episodes) -> None:
    again = record(make_env(ENV_ID), 3, seed=0)
    steps = int(again.ends[-1])
    np.testing.assert_array_equal(again.action, recorded.action[:steps])
    other = record(make_env(ENV_ID), 1, seed=50)
    assert not np.array_equal(other.action[:10], recorded.action[:10])


def test_collect_writes_a_file_that_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "demos.hdf5"
    line = collect(ENV_ID, 5, 0, path)
    assert "5 episodes" in line
    assert "100% successful" in line
    found = load_episodes(path)
    assert found.num_episodes == 5
    assert found.success is not None
    assert found.success.all()
    expected = record(make_env(ENV_ID), 5, seed=0)
    np.testing.assert_array_equal(found.action, expected.action)
    np.testing.assert_array_equal(found.final_observation["observation"], expected.final_observation["observation"])
    found.spec.check_compatible(expected.spec)


def test_collect_takes_the_environment_id_too(tmp_path: Path) -> None:
    collect(ENV_ID, 1, 0, tmp_path / "demos.hdf5")
    assert (tmp_path / "demos.hdf5").is_file()


@pytest.mark.parametrize(
    ("task", "episodes", "message"),
    [
        ("laminar/PointMase-v0", 3, "did you mean 'laminar/PointMaze-v0'"),
        (ENV_ID, 0, "episodes must be at least 1, got 0"),
    ],
)
def test_collect_refuses(tmp_path: Path, task: str, episodes: int, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        collect(task, episodes, 0, tmp_path / "demos.hdf5")
    assert not list(tmp_path.iterdir())


def test_registered_with_gymnasium() -> None:
    env = gymnasium.make(ENV_ID)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.spec is not None
    assert env.spec.max_episode_steps == 80
