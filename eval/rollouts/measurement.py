"""What every evaluation shares: loading the policy, lockstep or worker processes, the video, the time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Generic, TypeVar

import torch

from ...data.spec import Spec
from ...envs.limits import Clipping
from ...envs.rendering import drawing_problem
from ...envs.step_cap import assumed_cap
from ...errors import LaminarError, Stopped
from ...machine import follow_parent
from ...policies import load_policy
from ...policies.generative import generative_in
from ...policies.guided import Acting, acting_of, guide
from ...policies.module import PolicyModule
from ...policies.out_of_range import Excursions
from ...policies.planners.anew import acting_anew
from ...policies.policy import Policy
from ...policies.processes.solver_schedules import Steps
from ...policies.runtimes.accelerate import accelerate
from ...policies.runtimes.accelerated import Accelerated
from ...policies.runtimes.pace import resolve_steps
from ...progress import Finished, Watch, ignore, silent, tell
from ...registry import Elsewhere, from_elsewhere, register_again
from ...settings import whole_seeds
from ..results.findings import Findings
from ..results.origin import Origin
from .lockstep import Lockstep
from .options import DEFAULTS, RolloutOptions
from .starts import check_starts
from .video import Recorder

Record = TypeVar("Record")
Found = TypeVar("Found")
EvaluationProtocol = Callable[[Lockstep, Sequence[int]], dict[int, Record]]
"""Runs seeds in a lockstep and returns the records of those that were finished, in their order."""


@dataclass(frozen=True)
class Measurement(Generic[Record]):
    """The records of one evaluation, and what produced them.

    Attributes:
        env_id: environment, its arguments included.
        simulator: name and version of the simulator, where the environment tells it.
        records: one a seed, in the order of the seeds, of those that were finished.
        planned: number of seeds.
        spec: what the policy sees.
        checkpoint: hash of the policy's weights; None for a policy without any.
        num_envs: environments that stepped together, in all processes.
        acting: how the policy decided.
        manner: how it acted besides, in words, see `PolicyModule.manner`; "" where there is nothing to say.
        runtime: what ran its sampling loop.
        steps: network calls of its samples, as they were asked for.
        network_calls: evaluations of its network for a decision; None of a policy that does not tell.
        findings: what was found out about the environment.
        seconds: wall time.
        out_of_range: observations that were not like the training data; None for a policy that does not know them.
        rate_hz: control rate of the environment, where it tells.
        origin: where the policy was loaded from; None of one that was not.
    """

    env_id: str
    simulator: str | None
    records: list[Record]
    planned: int
    spec: Spec
    checkpoint: str | None
    num_envs: int
    acting: Acting
    runtime: str
    steps: Steps | str
    findings: Findings
    seconds: float = 0.0
    out_of_range: Excursions | None = None
    rate_hz: float | None = None
    origin: Origin | None = None
    network_calls: int | None = None
    manner: str = ""

    def whole(self, result: Found) -> Found:
        """Return what was made of the records.

        Raises:
            Stopped: the evaluation was interrupted, with the result; whoever wants all episodes must not go on.
        """
        if len(self.records) < self.planned:
            raise Stopped(found=result, message=f"interrupted: {len(self.records)} of {self.planned} are finished")
        return result


Share = tuple[Measurement[Record], list[int]]
"""What was measured, and the seeds that were finished."""
_LISTENING = 0.25  # seconds between two looks at what workers have finished
_report: Watch = ignore  # of a worker, to its parent


def measure(
    protocol: EvaluationProtocol[Record],
    policy: Policy | str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions = DEFAULTS,
) -> Measurement[Record]:
    """Roll a policy out under a protocol: one record a seed.

    Args:
        protocol: workers need one that can be pickled.
        policy: a policy, or a folder with one (a checkpoint or a run).
        env_id: gymnasium or D4RL id.
        seeds: distinct, from 0 to `settings.LARGEST_SEED`.
        options: how it is rolled out.

    Raises:
        LaminarError: a number that makes no sense, a policy that does not fit the environment, or whatever the
            protocol refuses.
        Stopped: interrupted before the first seed was done.
    """
    seeds = whole_seeds(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise LaminarError(f"evaluation needs at least one seed, distinct and >= 0; got {seeds[:8]}")
    begin = time.perf_counter()
    origin = Origin.of(policy) if isinstance(policy, str | Path) else None
    policy = policy if origin is None else origin.folder  # while a training goes on, all workers load the same one
    run = _in_workers if options.processes else _here
    with options.progress(len(seeds)) as watch:
        found, seconds = run(protocol, policy, env_id, seeds, options, watch)[0], time.perf_counter() - begin
    if not found.records:
        raise Stopped(message="interrupted before anything was finished; nothing was measured")
    return replace(found, planned=len(seeds), seconds=seconds, origin=origin)


def _here(
    protocol: EvaluationProtocol[Record],
    policy: Policy | str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions,
    watch: Watch,
) -> Share[Record]:
    loaded = load_policy(policy) if isinstance(policy, str | Path) else policy
    slots = min(options.num_envs or 64, len(seeds))
    ready = _prepared(loaded, options, slots)
    if loaded is not policy or options.plan is not None:  # that of a run tells when it starts
        for line in getattr(ready, "remarks", []):
            tell(f"note: {line}")
    recorder = None if options.video is None else Recorder(Path(options.video), seeds[: options.video_episodes])
    with ExitStack() as stack:
        if recorder is not None:
            stack.callback(recorder.close)
        lockstep = Lockstep(ready, env_id, slots, recorder, watch)
        stack.callback(lockstep.close)
        starts = options.starts or check_starts(lockstep.world.envs[0], lockstep.env_id, seeds)
        problem = drawing_problem(lockstep.world.envs[0]) if recorder is not None and options.starts is None else ""
        if problem:  # the figures do not need a film
            tell(f"no video: {problem}")
            lockstep.recorder = recorder = None
        # A stochastic solver (ddpm) draws from torch's default generator between the noise and the sample.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds[0])
            records = protocol(lockstep, seeds)
        if recorder is not None and len(records) == len(seeds):
            recorder.write()
    checkpoint_hash = getattr(ready, "checkpoint_hash", None)
    found = Measurement(
        env_id=lockstep.env_id,
        simulator=getattr(lockstep.world.envs[0].unwrapped, "simulator_name", None),
        records=list(records.values()),
        planned=len(seeds),
        spec=ready.spec,
        checkpoint=checkpoint_hash() if checkpoint_hash else None,
        num_envs=lockstep.world.slots,
        acting=acting_of(ready),
        manner=getattr(ready, "manner", ""),
        runtime=getattr(ready, "runtime", "eager"),
        steps=options.steps,
        findings=Findings(
            lockstep.world.limits.clipping, starts, assumed_cap(lockstep.world.envs[0]), lockstep.world.unseen
        ),
        out_of_range=lockstep.actor.out_of_range.found(),
        rate_hz=lockstep.rate_hz,
        network_calls=_network_calls(ready),
    )
    return found, list(records)


def _network_calls(policy: Policy) -> int | None:
    steps = policy.steps if isinstance(policy, Accelerated) else None
    source = policy.source if isinstance(policy, Accelerated) else policy
    if not isinstance(source, PolicyModule) or generative_in(source) is None:
        return None
    return source.calls(steps).evaluations


def check_steps(policy: Policy, steps: Steps | str, whose: object) -> None:
    """Refuse, before any work, a number of calls that makes no sense or a schedule that a policy does not have.

    Raises:
        LaminarError: names the policy and the schedules that it has.
    """
    source = policy.source if isinstance(policy, Accelerated) else policy
    if steps is not None and isinstance(source, PolicyModule):
        try:
            resolve_steps(source, steps)
        except LaminarError as error:
            raise LaminarError(f"{whose}: {error}") from error


def _prepared(policy: Policy, options: RolloutOptions, slots: int) -> Policy:
    """Let a policy act as told, run by the runtime: for all slots, and for the few that plan at other times."""
    if options.plan is not None:
        policy = acting_anew(policy, options.plan)
    if options.acting is not None:
        policy = guide(policy, options.acting)
    if options.runtime == "eager" and options.steps is None:
        return policy
    if not isinstance(policy, PolicyModule | Accelerated):
        what = f"runtime={options.runtime}" if options.steps is None else f"steps={options.steps}"
        raise LaminarError(f"{type(policy).__name__} is no policy with a sampling loop; leave policy.{what} out")
    source = policy.source if isinstance(policy, Accelerated) else policy
    return accelerate(policy, options.runtime, sorted({-(-slots // 4), slots}), resolve_steps(source, options.steps))


def _in_workers(
    protocol: EvaluationProtocol[Record],
    policy: Policy | str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions,
    watch: Watch,
) -> Share[Record]:
    if not isinstance(policy, str | Path):
        raise LaminarError("workers load the policy themselves: give a saved policy's folder, or processes=0")
    workers = min(options.processes, len(seeds))
    shards = [seeds[worker::workers] for worker in range(workers)]
    # spawned, because a forked child inherits locks of threads that it does not have
    context = multiprocessing.get_context("spawn")
    members, silenced = from_elsewhere(), options.but(progress=silent)
    others = set(multiprocessing.active_children())
    reports: SimpleQueue[Finished] = context.SimpleQueue()
    with ProcessPoolExecutor(workers, context, initializer=_ready_worker, initargs=(reports,)) as pool:
        jobs = [pool.submit(_in_worker, members, protocol, policy, env_id, shard, silenced) for shard in shards]
        try:
            shares = _awaited(jobs, reports, watch)
        except KeyboardInterrupt:
            shares = _finished(jobs, set(multiprocessing.active_children()) - others)
    if not shares:
        raise Stopped(message="interrupted before anything was finished; nothing was measured")
    found = {seed: record for part, done in shares for seed, record in zip(done, part.records, strict=True)}
    parts = [part for part, _ in shares]
    clipping = Clipping()
    for part in parts:
        clipping.add(part.findings.clipping or Clipping())
    done = [seed for seed in seeds if seed in found]
    together = replace(
        parts[0],
        records=[found[seed] for seed in done],
        num_envs=sum(part.num_envs for part in parts),
        findings=replace(parts[0].findings, clipping=clipping),
        out_of_range=Excursions.together([part.out_of_range for part in parts]),
    )
    return together, done


def _awaited(
    jobs: Sequence[Future[Share[Record]]], reports: SimpleQueue[Finished], watch: Watch
) -> list[Share[Record]]:
    """Return what the workers hand in, and tell meanwhile what they finish; who reports waits for nobody."""
    running = set(jobs)
    while running:
        running = wait(running, timeout=_LISTENING).not_done
        while not reports.empty():
            watch(reports.get())
    return [job.result() for job in jobs]


def _ready_worker(reports: SimpleQueue[Finished]) -> None:
    """Follow the first process; when Ctrl-C stops it, it tells the workers by another signal."""
    torch.set_num_threads(1)
    follow_parent()
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    global _report
    _report = reports.put


def _finished(jobs: Sequence[Future[Share[Record]]], workers: Iterable[BaseProcess]) -> list[Share[Record]]:
    """Interrupt the workers and return what they have finished; kill them when Ctrl-C comes again."""
    try:
        for worker in workers:
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, signal.SIGUSR1)
        return [job.result() for job in jobs if job.exception() is None]
    except KeyboardInterrupt:
        for worker in workers:
            worker.kill()
        raise


def _in_worker(
    members: Sequence[Elsewhere],
    protocol: EvaluationProtocol[Record],
    policy: str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions,
) -> Share[Record]:
    """Do the share of one worker, which knows the members that its parent has registered before it loads the policy."""
    register_again(members)
    return _here(protocol, policy, env_id, seeds, options, _report)
