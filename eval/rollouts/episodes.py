"""Evaluation: one episode a seed, many in lockstep.

The seed of an episode fixes the environment's reset and the policy's noise, so an episode does not depend on which
others run beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium

from ...errors import LaminarError
from ...policies.guided import Acting
from ..results.result import Episode, Result
from .lockstep import Actor, Lockstep, Step
from .measurement import measure

__all__ = ["Actor", "evaluate"]


def evaluate(
    policy: Actor | str | Path,
    env_id: str,
    seeds: Sequence[int],
    num_envs: int | None = None,
    processes: int = 0,
    video: str | Path | None = None,
    video_episodes: int = 3,
    acting: Acting | None = None,
    runtime: str = "eager",
) -> Result:
    """Measure a policy: one episode a seed.

    With the stochastic solver `ddpm` the noise inside the chain comes from one seeded stream for all environments, so
    there an episode also depends on `num_envs`. An episode counts as a success if the environment reported success at
    any of its steps. A policy that sees instructions gets the embedding it was trained with, unless `env_id` names one.

    Args:
        policy: a policy, or a folder with one (a checkpoint or a run).
        env_id: gymnasium or D4RL id.
        seeds: one episode each; the same seeds give the same resets and the same noise.
        num_envs: environments that step together, at most 64 by default. It does not change the episodes, up to
            floating-point differences between batch sizes.
        processes: 0 runs in this process, which is fastest for cheap simulators; N shards the seeds over N
            workers, which load the policy themselves, so `policy` must then be a folder.
        video: MP4 file to write, with the first `video_episodes` episodes one after the other.
        video_episodes: how many episodes to film.
        acting: lets the critic of the policy choose among candidates, as a `Guided` policy does; None leaves the
            policy as it is.
        runtime: of the sampling loop, see `policies.realtime.accelerate`; "auto" takes the fastest. The same numbers up
            to rounding, so single episodes may differ where an environment is chaotic.

    Raises:
        LaminarError: the policy does not fit the environment or gave a non-finite action; no or repeated seeds.
    """
    found = measure(run_episodes, policy, env_id, seeds, num_envs, processes, video, video_episodes, acting, runtime)
    figures = (found.checkpoint, found.num_envs, found.seconds)
    result = Result(found.env_id, found.records, *figures, simulator=found.simulator)
    return replace(result, acting=found.acting, runtime=found.runtime)


def run_episodes(lockstep: Lockstep, seeds: Sequence[int]) -> list[Episode]:
    """Run one episode a seed."""
    check_ends(lockstep.env_id, lockstep.envs[0])
    episodes = {seed: Episode(seed, 0.0, 0, None) for seed in seeds}

    def advance(_: int, seed: int, step: Step) -> bool:
        episode = episodes[seed]
        episode.total += step.reward
        episode.length += 1
        if step.success is not None:
            episode.success = step.success or bool(episode.success)
        return step.ended

    lockstep.run(seeds, lockstep.start, advance)
    return [episodes[seed] for seed in seeds]


def check_ends(env_id: str, env: gymnasium.Env[Any, Any]) -> None:
    """Raise LaminarError for a room in which an episode would never end."""
    if getattr(env.unwrapped, "max_steps", 0) is None:
        mark = "&" if "?" in env_id else "?"
        raise LaminarError(
            f"an episode in '{env_id}' never ends: choose a task ('{env_id}{mark}task=open_drawer'), a limit "
            f"('{env_id}{mark}max_steps=360'), or chains of instructions (task=calvin-chain)"
        )
