"""OGBench's tasks: what their ids mean, quiet and repeatable environments, rewards as OGBench's own loader has them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.load import load_episodes
from laminar.data.spec import Feature, Spec
from laminar.envs.make import env_spec, make_env
from laminar.envs.ogbench.names import Name, all_ids, parse
from laminar.envs.ogbench.rewards import with_rewards
from laminar.envs.suites import SUITES, suite_of
from laminar.errors import LaminarError
from laminar.train.run.build import load_recorded

SCENE = "scene-play-singletask-task1-v0"
DRAWER = 23  # its place in the positions of the scene


@pytest.fixture(scope="module")
def scene() -> Iterator[Any]:
    """Yield the first task of the scene; making it takes a second."""
    pytest.importorskip("ogbench")
    env = make_env(SCENE)
    yield env
    env.close()


def acted(env: Any, seed: int, steps: int = 8) -> list[Any]:
    """Return what a few actions lead to."""
    random = np.random.default_rng(0)
    shown = [(env.reset(seed=seed)[0], 0.0, False, False, {})]
    return shown + [env.step(random.uniform(-1, 1, env.action_space.shape).astype("f")) for _ in range(steps)]


@pytest.mark.parametrize(
    ("env_id", "name", "own"),
    [
        (SCENE, Name("scene", "play", 1), "scene-singletask-task1-v0"),
        ("scene-singletask-v0", Name("scene", None, None), "scene-singletask-v0"),
        ("cube-quadruple-play-100m-singletask-v0", Name("cube-quadruple", "play-100m", None), None),
        ("antmaze-large-explore-singletask-task5-v0", Name("antmaze-large", "explore", 5), None),
        ("scene-play-singletask-task6-v0", None, None),
        ("scene-navigate-singletask-v0", None, None),
        ("scene-v0", None, None),
        ("antmaze-large-play-v0", None, None),
    ],
)
def test_what_an_id_means(env_id: str, name: Name | None, own: str | None) -> None:
    assert parse(env_id) == name
    assert name is None or own is None or name.env_id == own
    assert (suite_of(env_id) is SUITES.module("ogbench")) == (name is not None)


def test_all_ids_are_known_and_different() -> None:
    ids = list(all_ids())
    assert len(set(ids)) == len(ids)
    assert all(parse(env_id) for env_id in ids)


def test_ogbench_has_all_of_them(scene: Any) -> None:
    names = {name.env_id for name in map(parse, all_ids()) if name}
    assert names <= set(gymnasium.registry)
    singletask = {known for known in gymnasium.registry if "-singletask" in known and "visual" not in known}
    assert names == singletask


def test_it_is_silent_without_a_screen() -> None:
    pytest.importorskip("ogbench")
    code = f"from laminar.envs.make import make_env; make_env('{SCENE}').reset(seed=0)"
    without = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    found = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=without | {"MUJOCO_GL": "disable"},
    )
    assert (found.stdout, found.stderr) == ("", "")


def test_what_it_shows_and_takes(scene: Any) -> None:
    spec = env_spec(scene)
    assert spec.observation["observation"].shape == (40,)
    assert (spec.action_low, spec.action_high, spec.rate_hz) == ((-1.0,) * 5, (1.0,) * 5, 20.0)
    assert scene.spec.max_episode_steps == 750
    assert not hasattr(scene.unwrapped, "compute_reward"), "Stable-Baselines3 would take it for a task with goals"


@pytest.mark.parametrize("env_id", ["antmaze-medium-navigate-singletask-v0", "pointmaze-teleport-singletask-v0", SCENE])
def test_a_seed_decides_an_episode(scene: Any, env_id: str) -> None:
    np.random.seed(5)
    here, before = np.random.get_state()[1], np.random.RandomState(5).get_state()[1]  # pyright: ignore[reportIndexIssue]
    env = scene if env_id == SCENE else make_env(env_id)
    first, other, again = acted(env, 3), acted(env, 4), acted(env, 3)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:4] == two[1:4]
    assert not np.array_equal(first[0][0], other[0][0])
    np.testing.assert_array_equal(here, before)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # pyright: ignore[reportIndexIssue]


def test_no_file_is_left_behind(scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    acted(make_env("antmaze-medium-singletask-v0"), 0, 1)
    assert not list(tmp_path.iterdir())


def solve(env: Any) -> None:
    """Put all that the task is about where it should be."""
    inner = env.env.unwrapped
    goal = inner.cur_task_info["goal"]
    qpos = inner.data.qpos.copy()
    qpos[14:17], qpos[DRAWER : DRAWER + 2] = goal["block_xyzs"][0], (goal["drawer_pos"], goal["window_pos"])
    inner.set_state(qpos, np.zeros_like(inner.data.qvel), goal["button_states"])


def test_the_goal_ends_an_episode_with_the_action_after_it(scene: Any) -> None:
    scene.reset(seed=0)
    solve(scene)
    still = np.zeros(5, "f")
    _, reward, terminated, _, info = scene.step(still)
    assert (reward, terminated, info["success"]) == (0.0, False, False)
    _, reward, terminated, truncated, info = scene.step(still)
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, True)


@pytest.fixture
def recorded(scene: Any) -> Episodes:
    """Return two recordings of the scene without rewards; the first one reaches its goal on the way."""
    rows: dict[str, list[Any]] = {key: [] for key in ("seen", "action", "qpos", "button_states", "reward", "reached")}
    finals, random = [], np.random.default_rng(1)
    for episode in range(2):
        seen, _ = scene.reset(seed=episode)
        for step in range(7):
            if (episode, step) == (0, 3):
                solve(scene)
                seen = scene.env.unwrapped.compute_observation()
            action = random.uniform(-1, 1, 5).astype("f")
            following, reward, terminated, _, info = scene.step(action)
            told = seen, action, info["prev_qpos"], info["prev_button_states"], reward, terminated
            for key, value in zip(rows, told, strict=True):
                rows[key].append(value)
            seen = following
        finals.append(seen)
    columns = {key: np.array(value) for key, value in rows.items()}
    last = np.isin(np.arange(14), (6, 13))
    return Episodes(
        {"observation": columns["seen"].astype("f")},
        {"observation": np.array(finals, "f")},
        columns["action"],
        np.zeros(14, "f"),
        np.zeros(14, bool),
        last,
        np.array([7, 14]),
        Spec({"observation": Feature((40,))}, Feature((5,))),
        has_reward=False,
        infos={key: columns[key] for key in ("qpos", "button_states", "reward", "reached")},
        remarks=["no 'rewards': good for cloning, not for methods that learn from rewards", "another one"],
    )


def test_rewards_are_those_of_the_environment(recorded: Episodes) -> None:
    found = with_rewards(recorded, SCENE)
    np.testing.assert_array_equal(found.reward, recorded.infos["reward"])
    # the environment hears of a goal that it was put at, not moved to, a step late
    assert found.terminated.nonzero()[0][0] == 3
    np.testing.assert_array_equal(found.terminated[4:], recorded.infos["reached"][4:].astype(bool))
    assert found.success is not None
    assert found.success.tolist() == [True, False]
    assert found.truncated.nonzero()[0].tolist()[-1] == 13
    assert found.has_reward
    assert found.remarks[0] == "another one"
    assert f"rewards of {SCENE}, whose goal is reached in" in found.remarks[1]
    assert "1 of 2 recordings" in found.remarks[1]


def published(path: Path, episodes: Episodes) -> Path:
    """Write recordings as OGBench publishes them."""
    rows = np.insert(np.arange(14), (7, 14), (6, 13))
    last = np.isin(np.arange(16), (7, 15))
    seen = episodes.observation["observation"][rows]
    seen[last] = episodes.final_observation["observation"]
    states = {key: episodes.infos[key][rows] for key in ("qpos", "button_states")}
    arrays = {"observations": seen, "actions": episodes.action[rows], "terminals": last, **states}
    for name in (path, path.with_name(f"{path.stem}-val.npz")):
        np.savez_compressed(name, **arrays)
    return path


@pytest.mark.filterwarnings("ignore:.*precision lowered")
def test_a_file_with_rewards_is_what_ogbench_loads(recorded: Episodes, tmp_path: Path) -> None:
    import ogbench

    path = published(tmp_path / "scene-play-v0.npz", recorded)
    _, expected, _ = ogbench.make_env_and_datasets(SCENE, dataset_path=str(path))
    config = compose("train", [f"data.path={path}", f"data.task={SCENE}", "method=fql"])
    found = load_recorded(config)
    assert found is not None
    np.testing.assert_array_equal(found.observation["observation"], expected["observations"])
    np.testing.assert_array_equal(found.next_observation("observation"), expected["next_observations"])
    np.testing.assert_array_equal(found.action, expected["actions"])
    np.testing.assert_array_equal(found.reward, expected["rewards"])
    np.testing.assert_array_equal(1.0 - found.terminated, expected["masks"])


def test_a_labelled_file_says_the_same(recorded: Episodes, tmp_path: Path) -> None:
    labelled = with_rewards(recorded, SCENE)
    path = published(tmp_path / "a.npz", labelled)
    with np.load(path) as stored:
        arrays = dict(stored)
    rows = np.insert(np.arange(14), (7, 14), (6, 13))
    np.savez_compressed(path, **arrays, rewards=labelled.reward[rows], masks=1.0 - labelled.terminated[rows])
    found = load_episodes(path)
    for name in ("reward", "terminated", "truncated", "ends", "success"):
        np.testing.assert_array_equal(getattr(found, name), getattr(labelled, name), err_msg=name)


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize(
    ("task", "without", "told"),
    [
        (
            "scene-play-singletask-task9-v0",
            (),
            "data.task=scene-play-singletask-task9-v0 is no single task of OGBench; did",
        ),
        (SCENE, ("qpos",), "has no 'qpos' a step, and data.task=scene-play-singletask-task1-v0 needs (25,)"),
        ("puzzle-3x3-singletask-v0", (), "'qpos' a step, and data.task=puzzle-3x3-singletask-v0 needs (23,)"),
    ],
)
def test_a_task_that_does_not_fit(recorded: Episodes, task: str, without: tuple[str, ...], told: str) -> None:
    kept = {key: value for key, value in recorded.infos.items() if key not in without}
    with pytest.raises(LaminarError) as caught:
        with_rewards(replace(recorded, infos=kept), task)
    assert told in str(caught.value)


def test_the_task_of_the_environment(recorded: Episodes, tmp_path: Path) -> None:
    words = [f"data.path={published(tmp_path / 'a.npz', recorded)}", "data.task=env", "method=fql"]
    with pytest.raises(LaminarError, match=r"data.task=env is the task of env.id, and there is none"):
        load_recorded(compose("train", words))
    found = load_recorded(compose("train", [*words, "task=ogbench/scene-play"]))
    assert found is not None
    assert "rewards of scene-play-singletask-v0" in found.remarks[-1]
