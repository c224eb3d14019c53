"""D4RL's maze frame on gymnasium-robotics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.envs import make_env

DemoData = Callable[[str], Path]


def _place(env: Any, observation: np.ndarray[Any, Any]) -> None:
    """Put the point where a D4RL observation says, in a UMaze (5 rows, 5 columns)."""
    row, column, row_speed, column_speed = observation
    position = np.array([column - 1.8, 1.8 - row])
    env.unwrapped.point_env.set_state(position, np.array([column_speed, -row_speed]))


def test_maze2d_moves_as_recorded(demo_data: DemoData) -> None:
    env = make_env("maze2d-umaze-v1")
    env.reset(seed=0)
    with h5py.File(demo_data("maze2d-umaze.hdf5")) as file:
        rows = slice(0, 200_000, 997)
        before = file["observations"][rows].astype(np.float64)
        after = file["next_observations"][rows]
        actions = file["actions"][rows]
    for start, action, end in zip(before, actions, after, strict=True):
        env.reset(seed=0)
        _place(env, start)
        np.testing.assert_allclose(env.step(action)[0], end, atol=1e-5)


def test_maze2d_pays_as_recorded(demo_data: DemoData) -> None:
    """The files hold the reward of the observation before the action: that of the environment one step earlier."""
    env = make_env("maze2d-umaze-v1")
    with h5py.File(demo_data("maze2d-umaze.hdf5")) as file:
        observations, rewards = file["observations"][:].astype(np.float64), file["rewards"][:]
        following, actions = file["next_observations"][:], file["actions"][:]
    near = np.flatnonzero(np.diff(rewards) != 0)  # steps on which the reward changes
    continuing = near[np.abs(following[near] - observations[near + 1]).max(axis=1) < 1e-6]
    assert len(continuing) > 100
    for step in continuing[:100]:
        if abs(np.linalg.norm(observations[step + 1, :2] - 1.0) - 0.5) < 1e-4:
            continue  # too close to the edge for float32
        env.reset(seed=0)
        _place(env, observations[step])
        assert env.step(actions[step])[1] == rewards[step + 1]


def test_maze2d_starts_in_free_cells_with_a_fixed_goal() -> None:
    env: Any = make_env("maze2d-umaze-v1")
    starts = np.array([env.reset(seed=seed)[0] for seed in range(40)])
    cells = {tuple(np.round(start[:2]).astype(int)) for start in starts}
    assert cells == {(1, 1), (1, 2), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3)}
    assert np.abs(starts[:, :2] - np.round(starts[:, :2])).max() <= 0.1
    np.testing.assert_allclose(env.unwrapped.goal, [-0.8, 0.8])  # (1, 1) in D4RL's frame


def test_dense_ids_pay_by_distance() -> None:
    env = make_env("maze2d-umaze-dense-v1")
    env.reset(seed=0)
    observation, reward, *_ = env.step(np.zeros(2, np.float32))
    assert reward == pytest.approx(np.exp(-np.linalg.norm(observation[:2] - 1.0)))


def test_same_seed_same_start() -> None:
    for env_id in ("maze2d-large-v1", "antmaze-medium-play-v2"):
        env = make_env(env_id)
        first, _ = env.reset(seed=7)
        other, _ = env.reset(seed=8)
        again, _ = env.reset(seed=7)
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


@pytest.mark.parametrize(("size", "goal"), [("umaze", (0, 8)), ("medium-play", (20, 20)), ("large-play", (32, 24))])
def test_antmaze_starts_at_the_origin_and_its_goal_is_where_d4rl_has_it(size: str, goal: tuple[int, int]) -> None:
    env: Any = make_env(f"antmaze-{size}-v2")
    observation, _ = env.reset(seed=1)
    assert np.abs(observation[:2]).max() <= 0.1
    assert observation[2] == pytest.approx(0.75, abs=0.11)
    assert (env._goal >= goal).all()
    assert (env._goal <= np.add(goal, 1.5)).all()


def test_antmaze_ends_with_reward_1_at_the_goal() -> None:
    env: Any = make_env("antmaze-umaze-v2")
    env.reset(seed=0)
    ant = env.unwrapped.ant_env
    position = ant.data.qpos.copy()
    position[:2] = env._goal - env._origin
    ant.set_state(position, np.zeros(14))
    _, reward, terminated, _, info = env.step(np.zeros(8, np.float32))
    assert (reward, terminated, info["success"]) == (1.0, True, True)


def test_antmaze_walls_are_where_d4rl_has_them() -> None:
    """In D4RL's umaze the way leads from (0, 0) along x to (8, 0), up y to (8, 8) and back to the goal (0, 8)."""
    env: Any = make_env("antmaze-umaze-v2")
    layout = env.unwrapped.maze
    for place, free in [((4, 0), True), ((8, 4), True), ((4, 8), True), ((0, 4), False), ((4, 4), False)]:
        row, column = layout.cell_xy_to_rowcol(np.array(place) - env._origin)
        assert (layout.maze_map[row][column] != 1) is free
