"""Evaluation: one episode a seed, many in lockstep.

The seed of an episode fixes the environment's reset and the policy's noise, so an episode does not depend on which
others run beside it.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from ..errors import LaminarError
from ..policies.policy import load_policy
from .lockstep import Actor, Lockstep
from .result import Episode, Result
from .video import Recorder

__all__ = ["Actor", "evaluate"]


def evaluate(
    policy: Actor | str | Path,
    env_id: str,
    seeds: Sequence[int],
    num_envs: int | None = None,
    processes: int = 0,
    video: str | Path | None = None,
    video_episodes: int = 3,
) -> Result:
    """Measure a policy: one episode a seed.

    With the stochastic solver `ddpm` the noise inside the chain comes from one seeded stream for all environments, so
    there an episode also depends on `num_envs`. An episode counts as a success if the environment reported success at
    any of its steps.

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

    Raises:
        LaminarError: the policy does not fit the environment or gave a non-finite action; no or repeated seeds.
    """
    seeds = [int(seed) for seed in seeds]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise LaminarError(f"evaluation needs at least one seed, distinct and >= 0; got {seeds[:8]}")
    if processes < 0 or video_episodes < 0:
        raise LaminarError(f"processes and video_episodes must not be negative, got {processes} and {video_episodes}")
    if num_envs is not None and num_envs < 1:
        raise LaminarError(f"num_envs must be at least 1, got {num_envs}")
    begin = time.perf_counter()
    if processes > 0:
        if video is not None:
            raise LaminarError("a video needs processes=0; film a few episodes in a second evaluation")
        result = _evaluate_sharded(policy, env_id, seeds, num_envs, processes)
    else:
        result = _evaluate_here(policy, env_id, seeds, num_envs, video, video_episodes)
    result.seconds = time.perf_counter() - begin
    return result


def _evaluate_here(
    policy: Actor | str | Path,
    env_id: str,
    seeds: Sequence[int],
    num_envs: int | None,
    video: str | Path | None,
    video_episodes: int,
) -> Result:
    actor = load_policy(policy) if isinstance(policy, str | Path) else policy
    recorder = None if video is None else Recorder(Path(video), seeds[:video_episodes])
    lockstep = Lockstep(actor, env_id, min(num_envs or 64, len(seeds)), recorder)
    try:
        # A stochastic solver (ddpm) draws from torch's default generator between the noise and the sample.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds[0])
            episodes = run_episodes(lockstep, seeds)
        if recorder is not None:
            recorder.write()
    finally:
        if recorder is not None:
            recorder.close()
        lockstep.close()
    checkpoint_hash = getattr(actor, "checkpoint_hash", None)
    return Result(env_id, episodes, checkpoint_hash() if checkpoint_hash else None, len(lockstep.envs))


def run_episodes(lockstep: Lockstep, seeds: Sequence[int]) -> list[Episode]:
    """Run one episode a seed; a slot takes the next pending seed as soon as its episode ends."""
    slots = len(lockstep.envs)
    pending = list(reversed(seeds))
    running: dict[int, Episode] = {}
    done: dict[int, Episode] = {}
    while len(done) < len(seeds):
        free = [slot for slot in range(slots) if slot not in running] if pending else []
        fresh = {slot: pending.pop() for slot in free if pending}
        lockstep.start(fresh)
        running |= {slot: Episode(seed, 0.0, 0, None) for slot, seed in fresh.items()}
        actions = lockstep.act()
        for slot, episode in list(running.items()):
            reward, ended, success = lockstep.step(slot, actions[slot])
            episode.total += reward
            episode.length += 1
            if success is not None:
                episode.success = success or bool(episode.success)
            if ended:
                done[episode.seed] = running.pop(slot)
    return [done[seed] for seed in seeds]


def _evaluate_sharded(
    policy: Actor | str | Path, env_id: str, seeds: Sequence[int], num_envs: int | None, processes: int
) -> Result:
    if not isinstance(policy, str | Path):
        raise LaminarError("workers load the policy themselves: give a saved policy's folder, or processes=0")
    workers = min(processes, len(seeds))
    shards = [seeds[worker::workers] for worker in range(workers)]
    # spawned, because a forked child inherits locks of threads that it does not have
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        jobs = [pool.submit(evaluate, str(policy), env_id, shard, num_envs) for shard in shards]
        parts = [job.result() for job in jobs]
    found = {episode.seed: episode for part in parts for episode in part.episodes}
    slots = sum(part.num_envs for part in parts)
    return Result(env_id, [found[seed] for seed in seeds], parts[0].checkpoint, slots)
