"""What every evaluation shares: loading the policy, lockstep or worker processes, the video, the time."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch

from ...data.spec import Spec
from ...envs.limits import Clipping
from ...envs.rendering import drawing_problem
from ...envs.step_cap import assumed_cap
from ...errors import LaminarError
from ...policies import load_policy
from ...policies.guided import Acting, acting_of, guide
from ...policies.module import PolicyModule
from ...policies.out_of_range import Excursions
from ...policies.policy import Policy
from ...policies.runtimes.accelerate import accelerate
from ...policies.runtimes.accelerated import Accelerated
from ...registry import Elsewhere, from_elsewhere, register_again
from ...settings import check_seeds
from ..results.findings import Findings
from .lockstep import Lockstep
from .options import DEFAULTS, RolloutOptions
from .starts import check_starts
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
        findings: what was found out about the environment.
        seconds: wall time.
        out_of_range: observations that were not like the training data; None for a policy that does not know them.
    """

    env_id: str
    simulator: str | None
    records: list[Record]
    spec: Spec
    checkpoint: str | None
    num_envs: int
    acting: Acting
    runtime: str
    findings: Findings
    seconds: float = 0.0
    out_of_range: Excursions | None = None


def measure(
    protocol: EvaluationProtocol[Record],
    policy: Policy | str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions = DEFAULTS,
) -> Measurement[Record]:
    """Roll a policy out under a protocol: one record a seed.

    Args:
        protocol: runs seeds in a lockstep and returns their records, in order; workers need one that can be pickled.
        policy: a policy, or a folder with one (a checkpoint or a run).
        env_id: gymnasium or D4RL id.
        seeds: distinct, from 0 to `settings.LARGEST_SEED`.
        options: how it is rolled out.

    Raises:
        LaminarError: a number that makes no sense, a policy that does not fit the environment, or whatever the
            protocol refuses.
    """
    seeds = [int(seed) for seed in seeds]
    if not seeds or len(set(seeds)) < len(seeds):
        raise LaminarError(f"evaluation needs at least one seed, distinct and >= 0; got {seeds[:8]}")
    check_seeds(min(seeds), max(seeds))
    begin = time.perf_counter()
    run = _in_workers if options.processes else _here
    return replace(run(protocol, policy, env_id, seeds, options), seconds=time.perf_counter() - begin)


def _here(
    protocol: EvaluationProtocol[Record],
    policy: Policy | str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions,
) -> Measurement[Record]:
    loaded = load_policy(policy) if isinstance(policy, str | Path) else policy
    slots = min(options.num_envs or 64, len(seeds))
    ready = _prepared(loaded, options, slots)
    recorder = None if options.video is None else Recorder(Path(options.video), seeds[: options.video_episodes])
    with ExitStack() as stack:
        if recorder is not None:
            stack.callback(recorder.close)
        lockstep = Lockstep(ready, env_id, slots, recorder)
        stack.callback(lockstep.close)
        starts = options.starts or check_starts(lockstep.world.envs[0], lockstep.env_id, seeds)
        problem = drawing_problem(lockstep.world.envs[0]) if recorder is not None and options.starts is None else ""
        if problem:  # the figures do not need a film
            print(f"no video: {problem}", file=sys.stderr)
            lockstep.recorder = recorder = None
        # A stochastic solver (ddpm) draws from torch's default generator between the noise and the sample.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds[0])
            records = protocol(lockstep, seeds)
        if recorder is not None:
            recorder.write()
    checkpoint_hash = getattr(ready, "checkpoint_hash", None)
    return Measurement(
        env_id=lockstep.env_id,
        simulator=getattr(lockstep.world.envs[0].unwrapped, "simulator_name", None),
        records=records,
        spec=ready.spec,
        checkpoint=checkpoint_hash() if checkpoint_hash else None,
        num_envs=lockstep.world.slots,
        acting=acting_of(ready),
        runtime=getattr(ready, "runtime", "eager"),
        findings=Findings(
            lockstep.world.limits.clipping, starts, assumed_cap(lockstep.world.envs[0]), lockstep.world.unseen
        ),
        out_of_range=lockstep.actor.out_of_range.found(),
    )


def _prepared(policy: Policy, options: RolloutOptions, slots: int) -> Policy:
    """Let a policy act as told, run by the runtime: for all slots, and for the few that plan at other times."""
    if options.acting is not None:
        policy = guide(policy, options.acting)
    if options.runtime == "eager":
        return policy
    if not isinstance(policy, PolicyModule | Accelerated):
        raise LaminarError(
            f"{type(policy).__name__} is no policy with a sampling loop; leave policy.runtime={options.runtime} out"
        )
    return accelerate(policy, options.runtime, sorted({-(-slots // 4), slots}))


def _in_workers(
    protocol: EvaluationProtocol[Record],
    policy: Policy | str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions,
) -> Measurement[Record]:
    if not isinstance(policy, str | Path):
        raise LaminarError("workers load the policy themselves: give a saved policy's folder, or processes=0")
    workers = min(options.processes, len(seeds))
    shards = [seeds[worker::workers] for worker in range(workers)]
    # spawned, because a forked child inherits locks of threads that it does not have
    context = multiprocessing.get_context("spawn")
    members = from_elsewhere()
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        jobs = [pool.submit(_in_worker, members, protocol, policy, env_id, shard, options) for shard in shards]
        parts = [job.result() for job in jobs]
    found = {
        seed: record
        for shard, part in zip(shards, parts, strict=True)
        for seed, record in zip(shard, part.records, strict=True)
    }
    clipping = Clipping()
    for part in parts:
        clipping.add(part.findings.clipping or Clipping())
    return replace(
        parts[0],
        records=[found[seed] for seed in seeds],
        num_envs=sum(part.num_envs for part in parts),
        findings=replace(parts[0].findings, clipping=clipping),
        out_of_range=Excursions.together([part.out_of_range for part in parts]),
    )


def _in_worker(
    members: Sequence[Elsewhere],
    protocol: EvaluationProtocol[Record],
    policy: str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions,
) -> Measurement[Record]:
    """Do the share of one worker, which knows the members that its parent has registered before it loads the policy."""
    register_again(members)
    return _here(protocol, policy, env_id, seeds, options)
