"""What `laminar plan` does with its settings: plans at the start of an episode, a line about them, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ...envs.fitting import fit_env
from ...envs.maze_map import MazeMap
from ...errors import LaminarError
from ...overwriting import check_files
from ...policies import load_policy
from ...policies.acting import actor_for
from ...policies.module import PolicyModule
from ..config import PlanConfig
from ..rollouts.noise import EpisodeNoise
from .drawing import Paths, draw_curves, draw_maze
from .planned import Planned, plan_from, planner_in

Array = NDArray[Any]
PLACE = "observation"  # in mazes, the observation whose first two numbers are a place


def run(config: PlanConfig) -> str:
    """Plan as the settings say, draw it, and return a line that tells what was planned.

    Raises:
        LaminarError: a policy that makes no plans, or that does not fit the environment; a file that exists.
    """
    out = None if config.out is None else _picture(Path(config.out), config.overwrite)
    policy = load_policy(str(config.policy.path))
    planner = planner_in(policy, str(config.policy.path))
    env = fit_env(str(config.env.id), policy.spec).env
    try:
        observation, _ = env.reset(seed=config.seed)
        found = plan_from(policy.spec, planner, observation, config.seed, config.plans)
        maze_map = _map_of(env) if PLACE in found.columns else None
        if config.drive and maze_map is None:
            raise LaminarError("drive=true draws the way over the map of a maze; leave it out for other environments")
        driven = _drive(env, policy, config.seed) if config.drive else None
    finally:
        env.close()
    if out is not None:
        _draw(found, maze_map, observation, driven, f"{config.env.id}, seed {config.seed}", out)
    line = summary(found, maze_map)
    return line if out is None else f"{line}\npicture in {out}"


def summary(found: Planned, maze_map: MazeMap | None) -> str:
    """Return how much of the plans leads through walls, and what they are expected to bring, in one line."""
    count, candidates, length = found.states.shape[:3]
    many = f"{count} plan{'s' * (count > 1)}"
    apart = f"{found.stride} control steps apart" if found.stride > 1 else "one a control step"
    parts = [f"{many} of {length} states, {apart}"]
    if maze_map is not None:
        places = _places(found, found.states)
        share = maze_map.share_through_walls(found.of_chosen(places))
        parts.append(f"{share.mean():.1%} of the planned steps through walls, in {(share > 0).sum()} of {many}")
        if candidates > 1:
            parts[-1] += f" ({maze_map.share_through_walls(places).mean():.1%} of those of all {candidates} candidates)"
    if found.returns is not None:
        expected = found.of_chosen(found.returns).mean()
        parts.append(f"planned return {expected:.4g} (all candidates {found.returns.mean():.4g})")
    return ", ".join(parts)


def _picture(out: Path, overwrite: bool) -> Path:
    if out.suffix.lower() != ".png":
        raise LaminarError(f"out={out}: a picture of plans is a PNG file; call it {out.name}.png")
    check_files([out], overwrite)
    return out


def _map_of(env: gymnasium.Env[Any, Any]) -> MazeMap | None:
    """Return the map of an environment that is a maze in D4RL's frame."""
    found = env.get_wrapper_attr("maze_map") if env.has_wrapper_attr("maze_map") else None
    return found if isinstance(found, MazeMap) else None


def _places(found: Planned, states: Array) -> Array:
    """Return where states (..., S) of a maze are, (..., 2)."""
    first = found.columns[PLACE].start
    return states[..., first : first + 2]


def _draw(
    found: Planned, maze_map: MazeMap | None, observation: Any, driven: Array | None, title: str, out: Path
) -> None:
    if maze_map is None:
        draw_curves(found, title, out)
        return
    places = _places(found, found.states)
    rest = np.ones(places.shape[:2], bool)
    rest[np.arange(len(rest)), found.chosen] = False
    goal = observation.get("goal") if isinstance(observation, Mapping) else None
    draw_maze(maze_map, Paths(found.of_chosen(places), found.stride, goal, places[rest], driven), title, out)


def _drive(env: gymnasium.Env[Any, Any], policy: PolicyModule, seed: int) -> Array:
    """Return the places (L, 2) of the episode that `laminar eval` runs with this seed."""
    actor, noise = actor_for(policy), EpisodeNoise(policy.noise_shape, 1)
    noise.reset(0, seed)
    observation, _ = env.reset(seed=seed)
    low, high = cast(Any, env.action_space).low, cast(Any, env.action_space).high
    places, over = [_place(observation)], False
    while not over:
        known = {key: one for key, one in _keyed(observation).items() if key in policy.spec.observation}
        action = actor.act(known, noise.next())
        observation, reward, terminated, truncated, _ = env.step(np.clip(action, low, high))
        actor.rewarded([reward], [0])
        places.append(_place(observation))
        over = terminated or truncated
    return np.array(places)


def _place(observation: Any) -> Array:
    return np.array(_keyed(observation)[PLACE][:2])


def _keyed(observation: Any) -> Mapping[str, Any]:
    """Return an observation by its keys; a flat one has the key that recordings give it."""
    return cast(Any, observation) if isinstance(observation, Mapping) else {"observation": observation}
