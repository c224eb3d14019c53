"""Bad data for offline improvement, through the command line: one clear error, or a warning and a trained policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.load import load_episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.train.methods.q_learning.rewards import tune
from laminar.train.offline_checks import check_offline

METHOD = ["method=ofql", "policy=meanflow", "network=dql", "network.width=16", "method.critic.width=16"]


def make_episodes(widths: tuple[int, int] = (3, 2), **changed: Any) -> Episodes:
    """Return six episodes of ten steps, every other one terminated; nothing is wrong with them."""
    rng, rows, steps = np.random.default_rng(0), 60, 10
    seen, width = widths
    last = np.arange(rows) % steps == steps - 1
    terminated = last & (np.arange(rows) // steps % 2 == 0)
    parts: dict[str, Any] = {
        "observation": {"observation": rng.normal(size=(rows, seen)).astype("f")},
        "final_observation": {"observation": rng.normal(size=(rows // steps, seen)).astype("f")},
        "action": rng.uniform(-1, 1, (rows, width)).astype("f"),
        "reward": rng.normal(size=rows).astype("f"),
        "terminated": terminated,
        "truncated": last & ~terminated,
        "ends": np.arange(steps, rows + 1, steps),
        "spec": Spec({"observation": Feature((seen,))}, Feature((width,)), (-1.0,) * width, (1.0,) * width),
    }
    return Episodes(**parts | changed)


@pytest.fixture
def train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that trains for three updates and returns exit code and what was told on standard error."""

    def run(data: Path | Episodes, *words: str) -> tuple[int, str]:
        if isinstance(data, Episodes):
            d4rl.write(tmp_path / "data.hdf5", data)
            data = tmp_path / "data.hdf5"
        capsys.readouterr()
        fixed = ["train", *METHOD, "method.batch_size=8", f"data.path={data}", f"out={tmp_path / 'run'}", "steps=3"]
        code = main([*fixed, *words])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("laminar:")]
        assert len(list((tmp_path / "run").glob("checkpoints/*"))) == (1 if code == 0 else 0)
        return code, "\n".join(lines)

    return run


def test_good_data_are_passed_over_in_silence(train: Callable[..., tuple[int, str]]) -> None:
    assert train(make_episodes()) == (0, "")


def replay_buffer(path: Path, **more: Any) -> Path:
    """Write Diffusion Policy's layout, in which rewards may be missing."""
    rng = np.random.default_rng(0)
    arrays = {"state": rng.normal(size=(20, 3)).astype("f"), "action": rng.uniform(-1, 1, (20, 2)).astype("f"), **more}
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[f"data/{key}"] = value
        file["meta/episode_ends"] = np.array([12, 20])
    return path


@pytest.mark.parametrize("reward", ["none", "normalize"])
def test_missing_rewards_are_an_error(train: Callable[..., tuple[int, str]], tmp_path: Path, reward: str) -> None:
    code, told = train(replay_buffer(tmp_path / "buffer.hdf5"), f"method.reward={reward}")
    assert code == 2
    assert told == (
        f"laminar: {tmp_path / 'buffer.hdf5'}: the file has no rewards, and offline improvement learns from nothing "
        "else; add them to the file, or clone it with method=bc"
    )


def test_a_file_of_the_same_layout_may_have_rewards(tmp_path: Path) -> None:
    path = replay_buffer(tmp_path / "buffer.hdf5", reward=np.arange(20, dtype="f"))
    assert tune("none", load_episodes(path)).tolist() == [*range(11), *range(12, 19)], (
        "last rows are final observations"
    )


def test_rewards_that_are_missing_in_any_layout(train: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    d4rl.write(tmp_path / "a.hdf5", make_episodes())
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        del file["rewards"]
    code, told = train(tmp_path / "a.hdf5")
    assert code == 2
    assert told.count("\n") == 0
    assert "a.hdf5: the file has no rewards, and offline improvement learns from nothing else" in told


def test_rewards_that_are_always_0_are_an_error(train: Callable[..., tuple[int, str]]) -> None:
    code, told = train(make_episodes(reward=np.zeros(60, np.float32)))
    assert code == 2
    assert "data.hdf5: the reward is 0 in all 60 steps, so no action is better than another; use data" in told
    assert told.count("\n") == 0


def test_a_constant_reward_has_no_scale(train: Callable[..., tuple[int, str]]) -> None:
    constant = make_episodes(reward=np.full(60, 2, np.float32))
    code, told = train(constant, "method.reward=iql_locomotion")
    assert code == 2
    assert "all 6 have the return 20; choose another tuning" in told


def test_an_unknown_tuning(train: Callable[..., tuple[int, str]]) -> None:
    code, told = train(make_episodes(), "method.reward=normalise")
    assert code == 2
    assert "method.reward is 'normalise'" in told
    assert "did you mean 'normalize'?" in told


def test_observations_of_another_task_are_an_error(train: Callable[..., tuple[int, str]]) -> None:
    code, told = train(make_episodes((4, 2)), "env.id=laminar/PointMaze-v0")
    assert code == 2
    assert "observation 'observation' has shape (4,) for " in told
    assert "but (6,) for environment 'laminar/PointMaze-v0'" in told
    assert told.count("\n") == 0


def test_a_reward_that_is_not_finite_is_an_error(train: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    reward = make_episodes().reward.copy()
    reward[[7, 9]] = 3e38  # finite in the file, not after the tuning
    code, told = train(make_episodes(reward=reward), "method.reward=rebrac_antmaze")
    assert code == 2
    assert "the reward is not finite in 2 of 60 steps, first inf in step 7; repair the file" in told
    with h5py.File(tmp_path / "data.hdf5", "a") as file:
        file["rewards"][7] = np.nan
    code, told = train(tmp_path / "data.hdf5")
    assert code == 2
    assert "reward is not finite in 1 of 60 rows, first in row 7" in told


def beyond(episodes: Episodes) -> Episodes:
    """Change two actions of different steps to 1.5 and -3."""
    action = episodes.action.copy()
    action[3, 0], action[40, 1] = 1.5, -3.0
    return replace(episodes, action=action)


TRUNCATED = {"terminated": np.zeros(60, bool), "truncated": np.arange(60) % 10 == 9}


def test_warnings_come_before_a_run_that_trains_on(train: Callable[..., tuple[int, str]]) -> None:
    code, told = train(beyond(make_episodes(reward=np.full(60, 2, np.float32), **TRUNCATED)))
    assert code == 0
    constant, ends, actions = told.splitlines()
    assert all("laminar: warning: " in line and "data.hdf5: " in line for line in (constant, ends, actions))
    assert "the reward is 2 in every step" in constant
    assert "none by the task's own end" in ends
    assert "actions of 2 of 60 steps are outside -1 to 1" in actions


@pytest.fixture
def warnings(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return a function that checks episodes for a policy of theirs and returns the lines on standard error."""

    def check(episodes: Episodes, chunk: int = 1, short_episodes: str = "error") -> list[str]:
        capsys.readouterr()
        check_offline(episodes, chunk, episodes.reward, short_episodes)
        return capsys.readouterr().err.splitlines()

    return check


def test_constant_rewards(warnings: Callable[..., list[str]]) -> None:
    [told] = warnings(make_episodes(reward=np.full(60, 2, np.float32)))
    assert "the reward is 2 in every step, so that all the critic can learn is how long episodes last" in told


def test_actions_beyond_known_limits(warnings: Callable[..., list[str]]) -> None:
    [told] = warnings(beyond(make_episodes()))
    assert "actions of 2 of 60 steps are outside -1 to 1 (they reach from -3 to 1.5): the policy's own" in told


def test_actions_beyond_one_without_known_limits(warnings: Callable[..., list[str]]) -> None:
    episodes = make_episodes()
    [told] = warnings(beyond(replace(episodes, spec=replace(episodes.spec, action_low=None, action_high=None))))
    assert "2 of 60 steps are outside -1 to 1, and no limits are known (they reach from -3 to 1.5): actions" in told


def test_actions_at_limits_of_their_own_are_fine(warnings: Callable[..., list[str]]) -> None:
    episodes = make_episodes()
    spec = replace(episodes.spec, action_low=(-1.0, -5.0), action_high=(1.0, 5.0))
    wide = replace(episodes, action=episodes.action * np.array([1, 5], "f"), spec=spec)
    assert warnings(wide) == []
    [told] = warnings(replace(wide, action=wide.action[:, ::-1]))
    assert "outside [-1.0, -5.0] to [1.0, 5.0]" in told


def test_absolute_actions_with_a_unit_are_not_measured_against_one(warnings: Callable[..., list[str]]) -> None:
    """Poses in metres go where they go; only actions of no known unit follow the benchmarks' convention."""
    episodes = make_episodes()
    for unit, count in (("", 1), ("absolute", 0)):
        spec = replace(episodes.spec, action=Feature((2,), unit=unit), action_low=None, action_high=None)
        assert len(warnings(replace(episodes, action=episodes.action * 9, spec=spec))) == count


def test_data_in_which_nothing_terminates(warnings: Callable[..., list[str]]) -> None:
    [told] = warnings(make_episodes(**TRUNCATED))
    assert "all 6 episodes end by a time limit or the recording's end (timeouts) and none by the task's own" in told
    assert "a fall costs nothing" in told


def test_data_in_which_every_step_terminates(warnings: Callable[..., list[str]]) -> None:
    rows = make_episodes()
    [told] = warnings(
        replace(
            rows,
            final_observation=rows.observation,
            terminated=np.ones(60, bool),
            truncated=np.zeros(60, bool),
            ends=np.arange(1, 61),
        )
    )
    assert "all 60 steps are terminals, so that nothing later counts and values are the rewards alone" in told


def test_episodes_shorter_than_a_chunk(warnings: Callable[..., list[str]]) -> None:
    cut = replace(make_episodes(), ends=np.array([10, 20, 30, 40, 58, 60]))
    assert warnings(cut, chunk=2) == []
    assert warnings(cut, chunk=4, short_episodes="drop") == []
    for setting in ("error", "pad"):
        with pytest.raises(LaminarError, match=r"1 of 6 episodes are shorter than policy.chunk=4, .* none can be pad"):
            warnings(cut, chunk=4, short_episodes=setting)
    with pytest.raises(LaminarError, match=r"6 of 6 episodes are shorter than .*; choose a shorter policy.chunk$"):
        warnings(cut, chunk=20)
