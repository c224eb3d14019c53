"""Recording a maze: trips from goal to goal by the shortest way, one going on where the last one ended.

D4RL's maze2d files are such a stream (Fu et al. 2020): a waypoint controller visits random cells, and an episode of the
file ends, by `timeouts`, where it gets to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..data.episodes import Episodes
from ..progress import Finished, Watch
from .maze_map import Cell, MazeMap
from .routes import Route
from .spec import env_spec

Array = NDArray[Any]

POSITION_GAIN = 10.0  # action per m to the point that is aimed at
VELOCITY_GAIN = 1.0  # action per m/s; full force is 24 m/s², so that the ball stops, hardly braking too late
AHEAD = 0.4  # m, between the ball's place on its route and the point it aims at: 4 m/s, and no bump at corners
DISTURBANCE = 0.3  # standard deviation of what is added to the action, and is recorded with it
ARRIVED = 0.1  # m from the goal, at which a trip ends ...
SLOW = 0.5  # m/s ... if the ball is no faster, so that recordings know how to stop


def follow(state: Any, waypoint: Any, velocity: Any = 0.0) -> Any:
    """Return the actions (..., 2) that lead states on: a spring and a damper, at most full force.

    Args:
        state: (..., 4) place and velocity, an array or a tensor.
        waypoint: (..., 2) place to go to, on the way.
        velocity: (..., 2) that one is to have there; 0 stops.
    """
    force = POSITION_GAIN * (waypoint - state[..., :2]) + VELOCITY_GAIN * (velocity - state[..., 2:])
    return force.clip(-1.0, 1.0)


@dataclass(frozen=True)
class _Trip:
    """One trip of n steps.

    Attributes:
        states: (n + 1, 4) with the one at the end.
        actions: (n, 2).
        rewards: (n,).
        shown: (2,) goal in the observation.
        goal: (2,) where it led to.
        arrived: whether it got there before the time limit.
    """

    states: Array
    actions: Array
    rewards: Array
    shown: Array
    goal: Array
    arrived: bool


def record(env: gymnasium.Env[Any, Any], episodes: int, seed: int, watch: Watch) -> Episodes:
    """Record trips between random free cells; a trip begins where, and as fast as, the last one ended.

    With goals=many a trip's goal is the environment's; with goals=one, D4RL's task, rewards are for the fixed goal,
    wherever a trip leads. `infos["goal"]` has where it leads to. Every trip ends truncated, as in D4RL's files.

    Args:
        env: from ``make_env("laminar/Maze2d-v0?…")``.
        episodes: number of trips.
        seed: trip i resets with seed + i; also the source of goals, ways and disturbances.
        watch: is told of each trip that is complete.
    """
    random = np.random.default_rng(seed)
    driver = _Driver(env.get_wrapper_attr("maze_map"), random)
    trips: list[_Trip] = []
    try:
        for number in range(episodes):
            options = {"start": trips[-1].states[-1]} if trips else {}
            observation, _ = env.reset(seed=seed + number, options=options)
            many = env.get_wrapper_attr("goals") == "many"
            goal = observation["goal"] if many else driver.map.draw(random, besides=observation["observation"][:2])
            trips.append(driver.drive(env, observation, goal))
            watch(Finished({"success": float(trips[-1].arrived)}))
    except KeyboardInterrupt:
        if not trips:
            raise
    return _episodes(trips, env)


class _Driver:
    """Drives along shortest ways."""

    def __init__(self, maze_map: MazeMap, random: np.random.Generator) -> None:
        self.map, self.random = maze_map, random
        self._distances = cache(maze_map.distances)

    def drive(self, env: gymnasium.Env[Any, Any], observation: dict[str, Array], goal: Array) -> _Trip:
        """Drive to a goal."""
        state, shown = observation["observation"], observation["goal"]
        states, actions, rewards = [state], list[Array](), list[float]()
        route = Route(self._corners(state[:2], goal), AHEAD)
        arrived = over = False
        while not (arrived or over):
            force = follow(state, route.aim(state[:2])) + DISTURBANCE * self.random.standard_normal(2)
            action = force.clip(-1.0, 1.0).astype(np.float32)
            following, reward, _, over, _ = env.step(action)
            state = following["observation"]
            states.append(state)
            actions.append(action)
            rewards.append(float(reward))
            arrived = bool(np.linalg.norm(state[:2] - goal) <= ARRIVED and np.linalg.norm(state[2:]) <= SLOW)
        return _Trip(np.array(states), np.array(actions), np.array(rewards), shown, goal, arrived)

    def _corners(self, place: Array, goal: Array) -> Array:
        """(K, 2) what a trip leads along: the place, the middles of cells, each in sight of the last, the goal."""
        cell: Cell = self.map.cell_of(goal)
        cells = self.map.route(self.map.cell_of(place), self._distances(cell), self.random)
        return np.array([place, *(self.map.middle(one) for one in cells[:-1]), goal])


def _episodes(trips: list[_Trip], env: gymnasium.Env[Any, Any]) -> Episodes:
    lengths = np.array([len(trip.actions) for trip in trips])
    ends = np.cumsum(lengths)
    truncated = np.zeros(ends[-1], bool)
    truncated[ends - 1] = True
    shown = np.array([trip.shown for trip in trips], np.float32)
    goals = np.array([trip.goal for trip in trips], np.float32)
    states = np.concatenate([trip.states[:-1] for trip in trips]).astype(np.float32)
    finals = np.array([trip.states[-1] for trip in trips], np.float32)
    return Episodes(
        observation={"goal": np.repeat(shown, lengths, axis=0), "observation": states},
        final_observation={"goal": shown, "observation": finals},
        action=np.concatenate([trip.actions for trip in trips]),
        reward=np.concatenate([trip.rewards for trip in trips]).astype(np.float32),
        terminated=np.zeros(ends[-1], bool),
        truncated=truncated,
        ends=ends,
        spec=env_spec(env),
        success=np.array([trip.arrived for trip in trips]),
        infos={"goal": np.repeat(goals, lengths, axis=0)},
        source=env.spec.id if env.spec else "a maze",
    )
