"""What every evaluation shares: loading the policy, lockstep or worker processes, the video, the time."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch

from ...data.spec import Spec
from ...errors import LaminarError
from ...policies.generative import GenerativePolicy, load_policy
from ...policies.guided import Acting, guide
from ...policies.runtimes.accelerated import accelerate
from .lockstep import Actor, Lockstep
from .video import Recorder

Record = TypeVar("Record")
EvaluationProtocol = Callable[[Lockstep, Sequence[int]], list[Record]]


@dataclass(frozen=True)
class Measurement(Generic[Record]):
    """The records of one evaluation, and what produced them.

    Attributes:
        env_id: environment, its arguments included.
        simulator: name and version of the simulator, where the environment tells it.
        records: one a seed, in the order of the seeds.
        spec: what the policy sees.
        checkpoint: hash of the policy's weights; None for a policy without any.
        num_envs: environments that stepped together, in all processes.
        acting: how the policy decided.
        runtime: what ran its sampling loop.
        seconds: wall time.
    """

    env_id: str
    simulator: str | None
    records: list[Record]
    spec: Spec
    checkpoint: str | None
    num_envs: int
    acting: Acting
    runtime: str
    seconds: float = 0.0


def measure(
    protocol: EvaluationProtocol[Record],
    policy: Actor | str | Path,
    env_id: str,
    seeds: Sequence[int],
    num_envs: int | None = None,
    processes: int = 0,
    video: str | Path | None = None,
    video_episodes: int = 3,
    acting: Acting | None = None,
    runtime: str = "eager",
) -> Measurement[Record]:
    """Roll a policy out under a protocol: one record a seed.

    Args:
        protocol: runs seeds in a lockstep and returns their records, in order; workers need one that can be pickled.
        policy: a policy, or a folder with one (a checkpoint or a run).
        env_id: gymnasium or D4RL id.
        seeds: distinct, not negative.
        num_envs: environments that step together, at most 64 by default.
        processes: 0 runs in this process; N shards the seeds over N workers, which load the policy themselves.
        video: MP4 file to write, with what the first `video_episodes` seeds did, one after the other.
        video_episodes: how many seeds to film.
        acting: lets the critic of the policy choose among candidates; None leaves the policy as it is.
        runtime: of the sampling loop, see `realtime.accelerate`; the same numbers up to rounding.

    Raises:
        LaminarError: a number that makes no sense, a policy that does not fit the environment, or whatever the
            protocol refuses.
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
        found = _in_workers(protocol, policy, env_id, seeds, num_envs, processes, acting, runtime)
    else:
        recorder = None if video is None else Recorder(Path(video), seeds[:video_episodes])
        found = _here(protocol, policy, env_id, seeds, num_envs, recorder, acting, runtime)
    return replace(found, seconds=time.perf_counter() - begin)


def _here(
    protocol: EvaluationProtocol[Record],
    policy: Actor | str | Path,
    env_id: str,
    seeds: Sequence[int],
    num_envs: int | None,
    recorder: Recorder | None = None,
    acting: Acting | None = None,
    runtime: str = "eager",
) -> Measurement[Record]:
    actor = load_policy(policy) if isinstance(policy, str | Path) else policy
    if acting is not None:
        if not isinstance(actor, GenerativePolicy):
            raise LaminarError(f"{type(actor).__name__} has no critic to choose among candidates; leave acting out")
        actor = guide(actor, acting)
    slots = min(num_envs or 64, len(seeds))
    actor = actor if runtime == "eager" else _accelerated(actor, runtime, slots)
    lockstep = Lockstep(actor, env_id, slots, recorder)
    try:
        # A stochastic solver (ddpm) draws from torch's default generator between the noise and the sample.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds[0])
            records = protocol(lockstep, seeds)
        if recorder is not None:
            recorder.write()
    finally:
        if recorder is not None:
            recorder.close()
        lockstep.close()
    checkpoint_hash = getattr(actor, "checkpoint_hash", None)
    checkpoint = checkpoint_hash() if checkpoint_hash else None
    simulator = getattr(lockstep.envs[0].unwrapped, "simulator_name", None)
    how = getattr(actor, "acting", Acting())
    ran = getattr(actor, "runtime", "eager")
    return Measurement(lockstep.env_id, simulator, records, actor.spec, checkpoint, len(lockstep.envs), how, ran)


def _accelerated(actor: Actor, runtime: str, slots: int) -> GenerativePolicy:
    """Build the policy's loop for all slots, and for the few that plan when their chunks end at other times."""
    if not isinstance(actor, GenerativePolicy):
        raise LaminarError(
            f"{type(actor).__name__} is no policy with a sampling loop; leave policy.runtime={runtime} out"
        )
    return accelerate(actor, runtime, sorted({-(-slots // 4), slots}))


def _in_workers(
    protocol: EvaluationProtocol[Record],
    policy: Actor | str | Path,
    env_id: str,
    seeds: Sequence[int],
    num_envs: int | None,
    processes: int,
    acting: Acting | None,
    runtime: str,
) -> Measurement[Record]:
    if not isinstance(policy, str | Path):
        raise LaminarError("workers load the policy themselves: give a saved policy's folder, or processes=0")
    workers = min(processes, len(seeds))
    shards = [seeds[worker::workers] for worker in range(workers)]
    # spawned, because a forked child inherits locks of threads that it does not have
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        how = (num_envs, None, acting, runtime)
        jobs = [pool.submit(_here, protocol, str(policy), env_id, shard, *how) for shard in shards]
        parts = [job.result() for job in jobs]
    found = {
        seed: record
        for shard, part in zip(shards, parts, strict=True)
        for seed, record in zip(shard, part.records, strict=True)
    }
    return replace(parts[0], records=[found[seed] for seed in seeds], num_envs=sum(part.num_envs for part in parts))
