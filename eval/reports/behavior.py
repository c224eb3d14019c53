"""Pictures of what a policy may do from the first seed's start: chunks that it samples, routes through a maze."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.episodes import Episodes
from ...envs.make import control_rate, env_spec
from ...envs.rendering import simulator
from ...envs.slots import Slots
from ...policies import Policy
from ...policies.guided import guide
from ...policies.module import PolicyModule
from ...policies.planners.anew import acting_anew
from ...policies.runtimes.accelerate import accelerate
from ...policies.runtimes.pace import resolve_steps
from ..results.result import Result
from ..rollouts.lockstep import Lockstep
from . import plots
from .page import Note, Picture
from .recorded import Recorded, nearest_recorded

_SAMPLES = 24  # chunks, or rollouts, drawn as lines in a picture
_ACTIONS = 500  # single actions, drawn as a histogram


def behavior(policy: PolicyModule, result: Result, folder: Path, data: Episodes | None = None) -> list[Picture | Note]:
    """Draw what a policy may do from the first seed's start.

    Args:
        policy: what was measured, before it acts as told.
        result: how it acted and sampled, where, and the seeds.
        folder: where the pictures go.
        data: recordings that the policy learned from; what was recorded nearby is drawn too.
    """
    measured = _as_measured(policy, result)
    seed = result.episodes[0].seed
    world = Slots(result.env_id, measured.spec, 1)
    env = world.envs[0]
    try:
        shown = {key: rows[0] for key, rows in world.reset({0: seed}).items()}
        names = measured.spec.action_labels if measured.spec.action.names else env_spec(env).action_labels
        nearby = None if data is None else nearest_recorded(data, measured.spec, shown)
        chunks = _sample_chunks(measured, shown)
        file = plots.action_chunks(chunks, control_rate(env), folder / "chunks.png", names, nearby)
        maze = getattr(env.unwrapped, "maze", None)
    finally:
        world.close()
    pictures: list[Picture | Note] = []
    if nearby is not None and nearby.distance == 0 and nearby.step == 0:
        pictures.append(
            Note(
                f"Seed {seed} starts exactly where episode {nearby.episode} of the training data does: measure on "
                "seeds that were not recorded, such as seed=1000."
            )
        )
    pictures += [Picture("Sampled chunks", file, _caption(chunks, seed, names, nearby))]
    if maze is not None:
        driven, goal = _drive(measured, result.env_id, seed)
        routes = plots.maze_routes(maze.maze_map, maze.maze_size_scaling, driven, goal, folder / "routes.png")
        pictures.insert(0, Picture("Routes", routes))
    return pictures


def _as_measured(policy: PolicyModule, result: Result) -> Policy:
    """Return a policy that acts and samples as the one that was measured."""
    anew = policy if result.plan is None else acting_anew(policy, result.plan)
    guided = guide(anew, result.acting)
    if result.steps is None:
        return guided
    return accelerate(guided, "eager", [_SAMPLES, _ACTIONS], resolve_steps(guided, result.steps))


def _caption(chunks: NDArray[Any], seed: int, names: tuple[str, ...], nearby: Recorded | None) -> str:
    samples, horizon, width = chunks.shape
    what = f"{samples} chunks of {horizon} actions" if horizon > 1 else f"{samples} actions"
    text = f"Blue: {what} that the policy samples for the start of seed {seed}."
    shown = plots.shown_dimensions(chunks)
    if len(shown) < width:
        listed = ", ".join(names[index] for index in shown)
        text += f" Shown are the {len(shown)} of {width} dimensions that vary most: {listed}."
    if nearby is None:
        return text
    others = f"; thin: of the {len(nearby.chunks) - 1} next nearest episodes" if len(nearby.chunks) > 1 else ""
    return (
        f"{text} Orange: what was recorded after the nearest observation of the training data (episode "
        f"{nearby.episode}, step {nearby.step}, both from 0), which is {nearby.distance:.2g} standard deviations away "
        f"(root mean square over {nearby.numbers} numbers{nearby.left_out}){others}."
    )


@torch.inference_mode()
def _sample_chunks(policy: Policy, observation: Mapping[str, Any]) -> NDArray[Any]:
    """Return chunks (S, H, A) for one observation, which is also the whole history."""
    samples = _SAMPLES if policy.spec.chunk > 1 else _ACTIONS
    windows = {
        key: torch.as_tensor(np.asarray(observation[key], feature.dtype)).expand(
            samples, policy.spec.history, *feature.shape
        )
        for key, feature in policy.spec.observation.items()
    }
    shape, generator = policy.noise_shape, torch.Generator().manual_seed(0)
    noise = None if shape is None else torch.randn(samples, *shape, generator=generator)
    return policy.sample(windows, noise).cpu().numpy()


def _drive(policy: Policy, env_id: str, seed: int) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Return the paths (T, 2) of several rollouts from one start with different noise, and the goal (2,)."""
    lockstep = Lockstep(policy, env_id, _SAMPLES)
    try:
        driven: list[list[NDArray[Any]]] = [[] for _ in range(_SAMPLES)]
        owners = [simulator(env) for env in lockstep.world.envs]
        lockstep.start(dict.fromkeys(range(_SAMPLES), seed), {slot: slot for slot in range(_SAMPLES)})
        running = set(range(_SAMPLES))
        while running:
            for slot in running:
                driven[slot].append(owners[slot].data.qpos[:2].copy())
            moments = lockstep.step(running, lockstep.act())
            running -= {slot for slot, moment in moments.items() if moment.ended}
        for path, owner in zip(driven, owners, strict=True):
            path.append(owner.data.qpos[:2].copy())
        goal: Any = lockstep.world.envs[0].unwrapped
        return [np.array(path) for path in driven], np.asarray(goal.goal)
    finally:
        lockstep.close()
