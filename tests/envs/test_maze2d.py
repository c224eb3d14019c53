"""Mazes that show their goal: D4RL's observation, rewards and scores, and the recordings of laminar's controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.data.load import load_episodes
from laminar.envs import make_env
from laminar.envs.collect import collect
from laminar.envs.d4rl import normalized_score, resolve
from laminar.envs.maze_trips import ARRIVED, follow
from laminar.envs.suites.maze2d import collect as record
from laminar.errors import LaminarError

DemoData = Callable[[str], Path]
ENV_ID = "laminar/Maze2d-v0"
TWIN = {"open": "maze2d-open-v0", "umaze": "maze2d-umaze-v1", "medium": "maze2d-medium-v1", "large": "maze2d-large-v1"}


@pytest.mark.parametrize("maze", TWIN)
def test_it_is_d4rl_s_maze_with_the_goal_beside_the_state(maze: str) -> None:
    ours: Any = make_env(f"{ENV_ID}?maze={maze}")
    theirs: Any = make_env(TWIN[maze])
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps
    random = np.random.default_rng(0)
    paid = 0.0
    goal = ours.reset(seed=0)[0]["goal"]
    for seed in range(4):
        options = {} if seed else {"start": [*goal, 0.0, 3.0]}
        shown, _ = ours.reset(seed=seed, options=options)
        seen, _ = theirs.reset(seed=seed, options=options)
        over = False
        while not over:
            np.testing.assert_array_equal(shown["observation"], seen)
            np.testing.assert_array_equal(shown["goal"], theirs.get_wrapper_attr("goal"))
            action = random.uniform(-1, 1, 2).astype(np.float32)
            shown, *ours_told, info = ours.step(action)
            seen, *told, other = theirs.step(action)
            assert ours_told == told
            assert info["success"] is other["success"]
            near = np.linalg.norm(shown["observation"][:2] - shown["goal"]) <= 0.5
            assert ours_told[0] == float(near) == float(info["success"])
            assert not ours_told[1]
            paid, over = paid + ours_told[0], ours_told[2]
    assert paid > 0


def test_goal_and_reward_are_those_of_the_recordings(demo_data: DemoData) -> None:
    env = make_env(ENV_ID)
    with h5py.File(demo_data("maze2d-umaze.hdf5")) as file:
        goal = file["metadata/fixed_goal"][:]
        rows = slice(0, 200_000, 1999)
        before, rewards = file["observations"][rows].astype(np.float64), file["rewards"][rows]
        actions, after = file["actions"][rows], file["next_observations"][rows]
    assert 0 < rewards.mean() < 1
    for start, reward, action, end in zip(before, rewards, actions, after, strict=True):
        observation, _ = env.reset(seed=0, options={"start": start})
        np.testing.assert_allclose(observation["observation"], start, atol=1e-12)
        np.testing.assert_array_equal(observation["goal"], goal)
        assert float(np.linalg.norm(start[:2] - goal) <= 0.5) == reward
        np.testing.assert_allclose(env.step(action)[0]["observation"], end, atol=1e-5)


@pytest.mark.parametrize("maze", ["umaze", "medium", "large"])
def test_many_goals_are_drawn_by_the_seed_in_other_cells_than_the_start(maze: str) -> None:
    env: Any = make_env(f"{ENV_ID}?maze={maze}&goals=many")
    one: Any = make_env(f"{ENV_ID}?maze={maze}")
    maze_map = env.get_wrapper_attr("maze_map")
    goals = []
    for seed in range(60):
        observation, _ = env.reset(seed=seed)
        np.testing.assert_array_equal(observation["observation"], one.reset(seed=seed)[0]["observation"])
        goals.append(observation["goal"])
        assert maze_map.cell_of(observation["goal"]) != maze_map.cell_of(observation["observation"][:2])
        assert env.observation_space.contains(observation)
    assert maze_map.is_free(np.array(goals)).all()
    assert len({maze_map.cell_of(goal) for goal in goals}) > len(maze_map.free) / 2
    np.testing.assert_array_equal(env.reset(seed=7)[0]["goal"], goals[7])


def test_the_goal_is_where_the_simulator_shows_it() -> None:
    """The middle of cell (3, 1) of the umaze is at (-1, -1) in the simulator, whose y goes up."""
    env: Any = make_env(ENV_ID)
    env.reset(seed=0, options={"goal": (2.8, 0.8), "start": (0.8, 2.8, 0.0, 0.0)})
    inside = env.unwrapped
    np.testing.assert_allclose(inside.goal, [-1.0, -1.0])
    np.testing.assert_allclose(inside.data.qpos, [1.0, 1.0])


def test_start_and_goal_may_be_given() -> None:
    env = make_env(f"{ENV_ID}?goals=many")
    observation, _ = env.reset(seed=0, options={"start": (3.0, 1.1, 0.5, -0.5), "goal": (1.0, 2.0)})
    np.testing.assert_allclose(observation["observation"], [3.0, 1.1, 0.5, -0.5])
    np.testing.assert_array_equal(observation["goal"], [1.0, 2.0])
    observation, _ = env.reset(seed=0)
    assert not np.array_equal(observation["goal"], [1.0, 2.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goal": (12.0, 1.0)}, r"goal \(12, 1\) is outside the map, which reaches from -0.7 to 4.3 m"),
        ({"goal": (2.0, 1.0)}, r"goal \(2, 1\) is in a wall"),
        ({"start": (2.0, 1.0, 0.0, 0.0)}, r"start \(2, 1\) is in a wall"),
        ({"start": (1.0, 1.0)}, r"start has shape \(2,\), expected 4 finite numbers"),
        ({"gaol": (1.0, 1.0)}, "no option 'gaol'.*did you mean 'goal'"),
    ],
)
def test_impossible_starts_and_goals_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        make_env(ENV_ID).reset(seed=0, options=options)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("maze=medum", "'medum' .known: open, umaze, medium, large.; did you mean 'medium'"),
        ("goals=two", "'goals' .* is 'two' .known: one, many"),
        ("mase=umaze", "has no argument 'mase' .it takes maze, goals.; did you mean 'maze'"),
        ("maze=3", "argument 'maze' .* is 3, expected text"),
    ],
)
def test_ids_that_name_no_maze(query: str, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        make_env(f"{ENV_ID}?{query}")


def test_scores_are_d4rl_s() -> None:
    for maze, twin in TWIN.items():
        for goals in ("one", "many"):
            found = normalized_score(f"{ENV_ID}?maze={maze}&goals={goals}", [0.0, 100.0])
            np.testing.assert_array_equal(found, normalized_score(twin, [0.0, 100.0]))
    np.testing.assert_array_equal(normalized_score(ENV_ID, 161.86), 100.0)
    many, one = resolve(f"{ENV_ID}?maze=umaze&goals=many"), resolve(f"{ENV_ID}?maze=umaze")
    assert many is not None
    assert one is not None
    assert "one fixed goal" in many.note
    assert one.note == ""


def test_another_time_limit_has_no_reference() -> None:
    other = f"{ENV_ID}?maze=umaze&max_episode_steps=50"
    assert normalized_score(other, 1.0) is None
    assert normalized_score(f"{ENV_ID}?max_episode_steps=300", 161.86) == pytest.approx(100.0)
    task = resolve(other)
    assert task is not None
    assert "300 steps" in task.note
    env = make_env(other)
    env.reset(seed=0)
    assert [env.step(np.zeros(2))[3] for _ in range(50)] == [False] * 49 + [True]


# recordings


@pytest.fixture(scope="module", params=["one", "many"])
def recorded(request: pytest.FixtureRequest) -> tuple[str, Episodes]:
    return request.param, record(make_env(f"{ENV_ID}?maze=medium&goals={request.param}"), 25, seed=0)


def test_trips_go_on_where_the_last_one_ended(recorded: tuple[str, Episodes]) -> None:
    _, trips = recorded
    states = trips.observation["observation"]
    np.testing.assert_array_equal(states[trips.ends[:-1]], trips.final_observation["observation"][:-1])
    np.testing.assert_array_equal(np.flatnonzero(trips.truncated), trips.ends - 1)
    assert not trips.terminated.any()


def test_every_trip_gets_to_its_goal_and_touches_no_wall(recorded: tuple[str, Episodes]) -> None:
    _, trips = recorded
    assert trips.success is not None
    assert trips.success.all()
    goals = trips.infos["goal"][trips.ends - 1]
    assert len(np.unique(goals, axis=0)) == 25
    away = np.linalg.norm(trips.final_observation["observation"][:, :2] - goals, axis=1)
    assert away.max() <= ARRIVED + 1e-6
    maze_map = make_env(f"{ENV_ID}?maze=medium").get_wrapper_attr("maze_map")
    assert maze_map.share_through_walls(trips.observation["observation"][:, :2]) == 0.0


def test_rewards_are_for_the_shown_goal(recorded: tuple[str, Episodes]) -> None:
    """With many goals it is the trip's own, with one D4RL's, wherever the trip leads."""
    goals, trips = recorded
    shown, led = trips.observation["goal"], trips.infos["goal"]
    assert np.array_equal(shown, led) is (goals == "many")
    if goals == "one":
        np.testing.assert_array_equal(shown, np.broadcast_to(np.float32([6, 6]), shown.shape))
    following = trips.next_observation("observation")[:, :2]
    distance = np.linalg.norm(following - shown, axis=1)
    sure = np.abs(distance - 0.5) > 1e-5
    np.testing.assert_array_equal(trips.reward[sure], (distance <= 0.5)[sure])
    assert 0 < trips.reward.mean() < 1


def test_recorded_actions_lead_from_state_to_state(recorded: tuple[str, Episodes]) -> None:
    goals, trips = recorded
    env = make_env(f"{ENV_ID}?maze=medium&goals={goals}")
    following = trips.next_observation("observation")
    for row in range(0, len(trips), 101):
        env.reset(seed=0, options={"start": trips.observation["observation"][row]})
        np.testing.assert_allclose(env.step(trips.action[row])[0]["observation"], following[row], atol=1e-5)


def test_same_seed_same_trips(recorded: tuple[str, Episodes]) -> None:
    goals, trips = recorded
    again = record(make_env(f"{ENV_ID}?maze=medium&goals={goals}"), 3, seed=0)
    np.testing.assert_array_equal(again.action, trips.action[: again.ends[-1]])
    other = record(make_env(f"{ENV_ID}?maze=medium&goals={goals}"), 1, seed=50)
    assert not np.array_equal(other.action[:10], trips.action[:10])


def test_collect_writes_a_file_that_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "trips.hdf5"
    told = collect(f"{ENV_ID}?maze=umaze&goals=many", 4, 0, path)
    assert "4 episodes" in told
    assert "100% successful" in told
    found, expected = load_episodes(path), record(make_env(f"{ENV_ID}?maze=umaze&goals=many"), 4, seed=0)
    np.testing.assert_array_equal(found.action, expected.action)
    np.testing.assert_array_equal(found.infos["goal"], expected.infos["goal"])
    for key in ("observation", "goal"):
        np.testing.assert_array_equal(found.observation[key], expected.observation[key])
    found.spec.check_compatible(expected.spec)


def test_what_is_complete_is_kept_when_somebody_interrupts() -> None:
    seen: list[object] = []

    def stop_at_the_second(done: object) -> None:
        seen.append(done)
        if len(seen) == 2:
            raise KeyboardInterrupt

    trips = record(make_env(f"{ENV_ID}?goals=many"), 9, seed=0, watch=stop_at_the_second)
    assert trips.num_episodes == 2
    whole = record(make_env(f"{ENV_ID}?goals=many"), 2, seed=0)
    np.testing.assert_array_equal(trips.action, whole.action)


def test_a_planned_path_is_followed(recorded: tuple[str, Episodes]) -> None:
    """States of a recorded trip as a plan: place and velocity, three control steps ahead, are the next waypoint."""
    _, trips = recorded
    env = make_env(f"{ENV_ID}?maze=medium&goals=many")
    for episode in range(5):
        first, end = int(trips.starts[episode]), int(trips.ends[episode])
        plan = trips.observation["observation"][first:end].astype(np.float64)
        goal = trips.infos["goal"][first]
        observation, _ = env.reset(seed=0, options={"start": plan[0], "goal": goal})
        for step in range(len(plan) + 20):
            aim = plan[min(step + 3, len(plan) - 1)]
            observation, *_, info = env.step(follow(observation["observation"], aim[:2], aim[2:]))
        assert info["success"]


def test_following_is_a_spring_and_a_damper_for_arrays_and_tensors() -> None:
    random = np.random.default_rng(0)
    states, places = random.normal(size=(3, 5, 4)), 0.1 * random.normal(size=(3, 5, 2))
    states *= 0.1
    expected = np.clip(10 * (places - states[..., :2]) - states[..., 2:], -1, 1)
    np.testing.assert_allclose(follow(states, places), expected)
    found = follow(torch.tensor(states), torch.tensor(places))
    np.testing.assert_allclose(found.numpy(), expected)
    assert (np.abs(expected) < 1).any()
    np.testing.assert_array_equal(follow(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0]), np.array([3.0, 4.0])), 0)
