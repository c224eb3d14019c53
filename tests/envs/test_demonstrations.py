"""Demonstrations of the playroom's tasks, and the verb that records them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.load import load_episodes
from laminar.envs import make_env
from laminar.envs.collect import collect as collect_file
from laminar.envs.playroom import demonstrations
from laminar.envs.playroom.demonstrations import collect
from laminar.envs.playroom.experts.hand import Hand, Motion
from laminar.envs.suites import playroom as suite
from laminar.errors import LaminarError

ENV_ID = "laminar/Playroom-v0?task=turn_on_led"


@pytest.fixture(scope="module")
def recorded() -> Episodes:
    return collect(make_env(ENV_ID), 4, seed=7)


def test_every_episode_is_a_success_and_ends_with_it(recorded: Episodes) -> None:
    assert recorded.num_episodes == 4
    assert recorded.success is not None
    assert recorded.success.all()
    np.testing.assert_array_equal(np.flatnonzero(recorded.terminated), recorded.ends - 1)
    np.testing.assert_array_equal(recorded.returns(), 1.0)
    assert not recorded.truncated.any()
    led = recorded.observation["scene_obs"][:, 5]
    assert not led.any()
    assert recorded.final_observation["scene_obs"][:, 5].all()


def test_observations_are_those_of_the_environment(recorded: Episodes) -> None:
    env = make_env(ENV_ID)
    for episode, start in enumerate(recorded.starts):
        observation, _ = env.reset(seed=7 + episode)
        for key, value in observation.items():
            np.testing.assert_array_equal(recorded.observation[key][start], value.astype(np.float32))
            assert recorded.observation[key].dtype == np.float32
    assert recorded.spec.observation["scene_obs"].unit == "scene D"
    assert recorded.spec.rate_hz == 30.0


def test_executing_what_was_executed_repeats_the_episode(recorded: Episodes) -> None:
    env = make_env(ENV_ID)
    env.reset(seed=7)
    for executed in recorded.infos["executed_action"][: recorded.ends[0]]:
        observation, _, terminated, _, _ = env.step(executed)
    assert terminated
    np.testing.assert_allclose(observation["robot_obs"], recorded.final_observation["robot_obs"][0], atol=1e-4)


def test_recorded_actions_are_the_expert_s_not_the_disturbed_ones(recorded: Episodes) -> None:
    difference = recorded.infos["executed_action"] - recorded.action
    assert 0.08 < difference[:, :3].std() < 0.4
    np.testing.assert_array_equal(difference[:, 6], 0.0)
    assert set(np.unique(recorded.action[:, 6])) == {-1.0}


def test_same_seed_same_recording(recorded: Episodes) -> None:
    again = collect(make_env(ENV_ID), 2, seed=7)
    np.testing.assert_array_equal(again.action, recorded.action[: again.ends[-1]])
    other = collect(make_env(ENV_ID), 1, seed=70)
    assert not np.array_equal(other.action[:5], recorded.action[:5])


def test_failures_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(100))

    def idle_at_first(task: str, hand: Hand) -> Motion:
        return hand.wait(5) if next(calls) < 2 else genuine(task, hand)

    genuine = demonstrations.script
    monkeypatch.setattr(demonstrations, "script", idle_at_first)
    found = collect(make_env(ENV_ID), 3, seed=0)
    assert found.num_episodes == 3
    assert found.success is not None
    assert found.success.all()
    assert found.remarks == ["2 of 5 attempts failed and were left out"]


def test_an_expert_that_keeps_failing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstrations, "script", lambda task, hand: hand.wait(1))
    with pytest.raises(LaminarError, match=r"expert for 'turn_on_led' failed in 21 of 21 attempts"):
        collect(make_env(ENV_ID), 3, seed=0)


def test_blocks_are_demonstrated_without_shoves() -> None:
    found = collect(make_env("laminar/Playroom-v0?task=lift_red_block_table&scene=B&instruction=task"), 1, seed=0)
    assert (found.infos["executed_action"] - found.action)[:, :6].std() < 0.12
    assert found.spec.observation["scene_obs"].unit == "scene B"
    assert found.observation["instruction"].shape == (len(found), 34)


@pytest.mark.parametrize(
    ("query", "message"),
    [("", "demonstrations need one task"), ("?task=open_drawer&action=absolute", "leave out action=absolute")],
)
def test_what_cannot_be_demonstrated(query: str, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        collect(make_env(f"laminar/Playroom-v0{query}"), 1, seed=0)


def test_the_command_writes_a_file_that_reads_back(
    tmp_path: Path, recorded: Episodes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "demos.hdf5"
    assert main(["collect", "task=playroom/turn_on_led", "episodes=4", "seed=7", f"out={path}"]) == 0
    assert "4 episodes" in capsys.readouterr().out
    found = load_episodes(path)
    for key in ("robot_obs", "scene_obs"):
        np.testing.assert_array_equal(found.observation[key], recorded.observation[key])
        np.testing.assert_array_equal(found.final_observation[key], recorded.final_observation[key])
    np.testing.assert_array_equal(found.action, recorded.action)
    found.spec.check_compatible(recorded.spec)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("env.id=laminar/Playroms-v0?task=open_drawer", "did you mean 'laminar/Playroom-v0'"),
        ("env.id=laminar/Playroom-v0?task=open_draw", "did you mean 'open_drawer'"),
        ("task=playroom/open_drawer episodes=0", "episodes must be at least 1"),
        ("task=playroom/open_drawer seed=-1", "seed must be a whole number from 0"),
        ("task=playroom/open_drawer steps=100", "give episodes=N"),
        ("task=playroom/play episodes=3", "give steps=N"),
    ],
)
def test_the_command_refuses(words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", *words.split(), f"out={tmp_path / 'demos.hdf5'}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_line_tells_of_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Episodes) -> None:
    recorded.remarks[:] = ["1 of 5 attempts failed and were left out"]
    monkeypatch.setattr(suite, "collect", lambda env, episodes, seed: recorded)
    line = collect_file(ENV_ID, 4, 0, tmp_path / "demos.hdf5")
    assert line.endswith("100% successful; 1 of 5 attempts failed and were left out")


def test_the_settings_of_one_skill() -> None:
    config = compose("train", ["task=playroom/open_drawer", "experiment=playroom-skill", "data.path=x", "out=y"])
    assert config.env.id == "laminar/Playroom-v0?task=open_drawer"
    assert (config.policy.chunk, config.policy.execute) == (8, 4)
