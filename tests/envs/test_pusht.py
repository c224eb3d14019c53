"""PushT of gym-pusht: recording and environment are of one kind, and coverage is in the record of an evaluation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.data.block_frame import command_of, seen_from_block, target_of
from laminar.data.episodes import Episodes
from laminar.data.load import load_episodes
from laminar.data.selection import Selection
from laminar.envs.make import env_spec, make_env
from laminar.errors import LaminarError
from laminar.eval.results.result import Result
from laminar.eval.rollouts.episodes import evaluate
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config

ENV_ID = "gym_pusht/PushT-v0"
PICTURES = f"{ENV_ID}?obs_type=pixels_agent_pos"
IN_BLOCK_FRAME = f"{ENV_ID}?frame=block"


@pytest.fixture
def pusht() -> None:
    """Skip where gym-pusht is not installed."""
    pytest.importorskip("gym_pusht")


def _drive(env: Any, seed: int, steps: int) -> list[Any]:
    shown = [env.reset(seed=seed)[0]]
    random = np.random.default_rng(0)
    return shown + [env.step(random.uniform(100, 400, 2).astype(np.float32))[0] for _ in range(steps)]


def _wander(steps: int = 30) -> Episodes:
    """Return one episode of random actions."""
    env = make_env(ENV_ID)
    shown = np.asarray(_drive(env, 0, steps), np.float32)
    last = np.arange(steps) == steps - 1
    action = np.random.default_rng(0).uniform(100, 400, (steps, 2)).astype(np.float32)
    return Episodes(
        observation={"observation": shown[:-1]},
        final_observation={"observation": shown[-1:]},
        action=action,
        reward=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, bool),
        truncated=last,
        ends=np.array([steps]),
        spec=env_spec(env),
    )


@pytest.mark.usefixtures("pusht")
@pytest.mark.parametrize(("env_id", "frame"), [(ENV_ID, None), (IN_BLOCK_FRAME, "block")])
def test_recording_and_environment_agree(env_id: str, frame: str | None, demo_data: Callable[[str], Path]) -> None:
    recorded = load_episodes(demo_data("pusht-scripted.hdf5"), Selection(frame=frame)).spec
    shown = env_spec(make_env(env_id))
    recorded.check_compatible(shown)
    assert recorded.rate_hz == shown.rate_hz == 10.0  # not the 100 Hz of its physics
    assert (recorded.action_low, recorded.action_high) == (shown.action_low, shown.action_high)


@pytest.mark.usefixtures("pusht")
def test_a_recorded_episode_repeats_itself(demo_data: Callable[[str], Path]) -> None:
    """The seed decides the start, the actions all else: states and coverage come out as they were recorded."""
    with h5py.File(demo_data("pusht-scripted.hdf5")) as file:
        lengths = np.diff(np.asarray(file["meta/episode_ends"]), prepend=0)
        shortest = int(lengths.argmin())
        rows = slice(int(lengths[:shortest].sum()), int(lengths[: shortest + 1].sum()))
        seed = int(np.asarray(file["meta/seed"])[shortest])
        state, action, coverage = (np.asarray(file[f"data/{key}"])[rows] for key in ("state", "action", "coverage"))
    env = make_env(ENV_ID)
    shown, _ = env.reset(seed=seed)
    for step in range(len(action)):
        np.testing.assert_allclose(shown, state[step], atol=1e-3)
        shown, _, terminated, _, info = env.step(action[step])
        assert info["coverage"] == pytest.approx(float(coverage[step]), abs=1e-5)
        assert info["success"] == terminated == (step == len(action) - 1)
    figures = env.unwrapped.episode_figures()
    assert figures == pytest.approx({"max coverage": coverage.max(), "final coverage": coverage[-1]}, abs=1e-5)


@pytest.mark.usefixtures("pusht")
def test_a_recorded_episode_repeats_itself_in_the_frame_of_the_block(demo_data: Callable[[str], Path]) -> None:
    path = demo_data("pusht-scripted.hdf5")
    episodes = load_episodes(path, Selection(frame="block"))
    shortest = int(episodes.lengths.argmin())
    last = int(episodes.ends[shortest])
    with h5py.File(path) as file:
        seed = int(np.asarray(file["meta/seed"])[shortest])
    env = make_env(IN_BLOCK_FRAME)
    shown, _ = env.reset(seed=seed)
    for row in range(last - int(episodes.lengths[shortest]), last):
        np.testing.assert_allclose(shown, episodes.observation["observation"][row], atol=1e-2)
        assert env.observation_space.contains(shown)
        shown, _, terminated, _, _ = env.step(episodes.action[row])
        assert terminated == (row == last - 1)


def test_what_the_block_shows_is_the_same_wherever_it_lies() -> None:
    """Turning and moving pusher, block and target together changes where the goal is, and nothing else."""
    random = np.random.default_rng(0)
    state = np.concatenate([random.uniform(200, 300, (9, 4)), random.uniform(0, 2 * np.pi, (9, 1))], 1)
    target = random.uniform(200, 300, (9, 2))
    angle, middle = 0.7, np.array([256.0, 256.0])
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def moved(points: np.ndarray) -> np.ndarray:
        return (points - middle) @ matrix.T + middle + [20.0, -10.0]

    other = np.concatenate([moved(state[:, :2]), moved(state[:, 2:4]), state[:, 4:] + angle], 1)
    np.testing.assert_allclose(seen_from_block(state)[:, :2], seen_from_block(other)[:, :2], atol=1e-9)
    assert not np.allclose(seen_from_block(state)[:, 2:], seen_from_block(other)[:, 2:], atol=1.0)
    np.testing.assert_allclose(command_of(target, state), command_of(moved(target), other), atol=1e-9)
    np.testing.assert_allclose(target_of(command_of(target, state), state), target, atol=1e-9)
    assert target_of(np.array([0.0, 9000.0]), np.array([256.0, 256.0, 0.0, 0.0, 0.0])).tolist() == [256.0, 512.0]


def test_the_frame_of_the_block_is_of_pusht_alone(tmp_path: Path) -> None:
    path = tmp_path / "arm.hdf5"
    with h5py.File(path, "w") as file:
        file["data/state"], file["data/action"] = np.zeros((4, 7)), np.zeros((4, 2))
        file["meta/episode_ends"] = np.array([4])
    with pytest.raises(LaminarError, match=r"arm\.hdf5: data\.frame=block is for states \(5,\)"):
        load_episodes(path, Selection(frame="block"))
    with pytest.raises(LaminarError, match=r"data\.frame=world is unknown"):
        Selection(frame="world")


@pytest.mark.usefixtures("pusht")
def test_a_seed_decides_an_episode() -> None:
    env, other = make_env(ENV_ID), make_env(ENV_ID)
    first = _drive(env, 3, 5)
    np.testing.assert_array_equal(first, _drive(env, 3, 5))  # also after an episode
    np.testing.assert_array_equal(first, _drive(other, 3, 5))
    assert not np.array_equal(first[0], env.reset(seed=4)[0])


@pytest.mark.usefixtures("pusht")
def test_pictures_are_drawn_of_states_as_the_environment_shows_them() -> None:
    env, shows = make_env(ENV_ID), make_env(PICTURES)
    states, shown = _drive(env, 5, 6), _drive(shows, 5, 6)
    assert len({one["pixels"].tobytes() for one in shown}) == 7
    for state, seen in zip(states, shown, strict=True):
        np.testing.assert_array_equal(env.unwrapped.picture(state), seen["pixels"])
        np.testing.assert_array_equal(state[:2], seen["agent_pos"])
    spec = env_spec(shows)
    assert (spec.observation["pixels"].shape, spec.observation["pixels"].dtype) == ((96, 96, 3), "uint8")


@pytest.mark.usefixtures("pusht")
def test_its_import_prints_nothing() -> None:
    code = f"from laminar.envs.make import make_env; make_env('{ENV_ID}').reset(seed=0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.usefixtures("pusht")
@pytest.mark.parametrize(
    ("env_id", "told"),
    [
        (f"{ENV_ID}?obs_type=state_only", "Unknown obs_type state_only"),
        (f"{ENV_ID}?task=push", "has no argument"),
        (f"{ENV_ID}?frame=world", "frame can only be block"),
        (f"{PICTURES}&frame=block", "frame can only be block, and goes without obs_type"),
    ],
)
def test_arguments_that_it_does_not_take(env_id: str, told: str) -> None:
    with pytest.raises(LaminarError, match=told):
        make_env(env_id)


@pytest.mark.usefixtures("pusht")
def test_an_evaluation_records_coverage() -> None:
    policy = GenerativePolicy.build(PolicyConfig(history=2, chunk=16, execute=8), Config(width=8, depth=1), _wander())
    result = evaluate(policy, f"{ENV_ID}?max_episode_steps=20", [1000, 1001, 1002], num_envs=2)
    assert result.success_rate is not None
    largest = [one.figures["max coverage"] for one in result.episodes]
    assert all(one.figures["final coverage"] <= one.figures["max coverage"] <= 1.0 for one in result.episodes)
    assert result.figures["max coverage"].mean == pytest.approx(np.mean(largest))
    assert "max coverage" in result.summary()
    stored = result.to_json()
    assert stored["figures"]["max coverage"]["mean"] == pytest.approx(np.mean(largest))
    assert "pymunk" in stored["simulator"]
    assert "gym-pusht" in stored["versions"]
    assert Result.from_json(stored).to_json()["figures"] == stored["figures"]
