"""An evaluation, or a share of one, in this process: the policy is loaded and rolled out in lockstep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from ...envs.rendering import drawing_problem
from ...envs.step_cap import assumed_cap
from ...errors import LaminarError
from ...machine import computing_threads
from ...policies import load_policy
from ...policies.generative import generative_in
from ...policies.guided import acting_of, guide
from ...policies.module import PolicyModule
from ...policies.planners.anew import acting_anew
from ...policies.policy import Policy
from ...policies.processes.solver_schedules import Steps
from ...policies.runtimes.accelerate import accelerate
from ...policies.runtimes.accelerated import Accelerated
from ...policies.runtimes.pace import resolve_steps
from ...progress import Watch, tell
from ..results.findings import Findings
from .lockstep import Lockstep
from .measured import Measurement, Record, Share
from .options import RolloutOptions
from .starts import check_starts
from .video import Recorder

EvaluationProtocol = Callable[[Lockstep, Sequence[int]], dict[int, Record]]
"""Runs seeds in a lockstep and returns the records of those that were finished, in their order."""


@computing_threads(1)  # two divide the rows of a product, and few rows have other last digits than many
def measure_here(
    protocol: EvaluationProtocol[Record],
    policy: Policy | str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions,
    watch: Watch,
) -> Share[Record]:
    """Do the work for some seeds, see `measurement.measure`; Ctrl-C ends it early, and what is finished is returned."""
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
    policy = guide(policy, options.acting)
    if options.runtime == "eager" and options.steps is None:
        return policy
    if not isinstance(policy, PolicyModule | Accelerated):
        what = f"runtime={options.runtime}" if options.steps is None else f"steps={options.steps}"
        raise LaminarError(f"{type(policy).__name__} is no policy with a sampling loop; leave policy.{what} out")
    source = policy.source if isinstance(policy, Accelerated) else policy
    return accelerate(policy, options.runtime, sorted({-(-slots // 4), slots}), resolve_steps(source, options.steps))
