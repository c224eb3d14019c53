"""How long a control loop waits for a chunk: every runtime of one policy, measured in turns on one machine.

The candidates are built first and checked against eager on the same noise. Then they take turns in rounds of rotated
order, some calls each, with fresh noise in every call. Wall time is what a robot feels; the CPU time of the same calls
tells what the policy itself costs when something else runs on the machine. See docs/latency.md.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import LaminarError, nearest
from ...machine import computing_threads, cpu_model
from ...policies.guided import Acting, guide
from ...policies.module import PolicyModule
from ...policies.runtimes import RUNTIMES
from ...policies.runtimes.accelerate import accelerate
from ...policies.runtimes.accelerated import unavailable
from ...policies.runtimes.agreement import Agreement, sampler_agreement
from ...policies.runtimes.fastest import suitable
from ...policies.runtimes.pace import resolve_steps
from ...policies.runtimes.program import SamplingProgram
from ...progress import Finished, Progress, silent
from .roofline import Probe, Work, probes, work_of

Array = NDArray[Any]
ROUNDS = 10
PROBE_CALLS = 20  # of the kernels of the roofline, each round
_WARM = 2  # calls at the start of each turn that are not timed: the others' data are still in the cache


@dataclass(frozen=True)
class Case:
    """One way to ask the policy.

    Attributes:
        runtime: one of `policies.runtimes.RUNTIMES`.
        steps: network calls, name of a schedule, or None for the configured number.
        batch: robots a call.
        what: "sample", a chunk from an observation; or "act", a whole decision that plans: the checks of the
            observation, the history, the chunk and its first action.
    """

    runtime: str
    steps: int | str | None
    batch: int
    what: str = "sample"


@dataclass(frozen=True)
class Candidate:
    """One case, ready to be called; `prepare` runs before each call and is not timed."""

    case: Case
    call: Callable[[], object]
    prepare: Callable[[], object] | None
    build_seconds: float
    first_call_seconds: float
    difference: float
    agrees: bool
    network_calls: int
    work: Work


@dataclass(frozen=True)
class Timing:
    """All calls of a candidate: for each round, (calls, 3) wall and CPU microseconds, and interruptions."""

    rounds: list[Array]

    @property
    def wall(self) -> Array:
        """(calls,) microseconds."""
        return np.concatenate(self.rounds)[:, 0]

    @property
    def cpu(self) -> Array:
        """(calls,) microseconds of the process."""
        return np.concatenate(self.rounds)[:, 1]

    @property
    def undisturbed(self) -> Array:
        """(calls,) microseconds of wall time, only of the calls that the scheduler let finish in one go."""
        return self.wall[np.concatenate(self.rounds)[:, 2] == 0]

    @property
    def medians(self) -> Array:
        """(rounds, 2) median wall and CPU microseconds."""
        return np.array([np.median(part[:, :2], axis=0) for part in self.rounds])


@dataclass(frozen=True)
class Latencies:
    """What was measured; `report` makes figures of it.

    Attributes:
        policy: as it was measured.
        rows: candidates and their times.
        kernels: of the roofline, and their times.
        left_out: runtime -> why it was not measured.
        machine: see `machine`, with the load average before and after.
        calls: timed calls of a row.
        rate_hz: control rate to hold, None when neither the user nor the Spec names one.
    """

    policy: PolicyModule
    rows: list[tuple[Candidate, Timing]]
    kernels: list[tuple[Probe, Timing]]
    left_out: dict[str, str]
    machine: dict[str, Any]
    calls: int
    rate_hz: float | None


def measure_latency(
    policy: PolicyModule,
    runtimes: Sequence[str] | None = None,
    steps: Sequence[Any] = (None,),
    batches: Sequence[int] = (1,),
    acting: Acting | Mapping[str, Any] | None = None,
    calls: int = 2000,
    threads: int = 1,
    rate_hz: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Latencies:
    """Measure runtimes x steps x batches, and one whole decision a runtime (of the first steps and batch).

    The policy is in evaluation mode afterwards.

    Args:
        policy: on the device where it is to run.
        runtimes: names; None takes those that suit the device, and says why others cannot run.
        steps: network calls a chunk, names of the policy's schedules, or None for the configured number.
        batches: robots a call.
        acting: how the policy decides, for example by its critic's choice among candidates, see `guide`.
        calls: timed calls of every row; also its memory, 24 bytes each.
        threads: intra-op threads, while this runs.
        rate_hz: control rate that p99 is held against; None takes that of the Spec.
        seed: of the observation, which is like those that the policy was fitted to, and of the noise.
        progress: follows the runtimes that are built, and then the turns.

    Raises:
        LaminarError: a number that makes no sense, an unknown runtime or schedule, or a named runtime that cannot run.
    """
    _check_numbers(batch=batches, calls=[calls], threads=[threads])
    rate_hz = policy.spec.rate_hz if rate_hz is None else rate_hz
    if rate_hz is not None and not 0 < rate_hz < float("inf"):
        raise LaminarError(f"rate_hz must be above 0 and finite, got {rate_hz}")
    for value in steps:
        resolve_steps(policy, value)
    policy = guide(policy, acting).eval()
    with computing_threads(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        names, left_out = _runtimes(policy, runtimes)
        load = os.getloadavg()[0]
        built: list[Candidate] = []
        with progress(len(names), "runtime", "building") as watch:
            for name in names:
                try:
                    built += _candidates(policy, name, steps, batches, seed)
                except LaminarError as error:
                    if runtimes is not None:
                        raise
                    left_out[name] = str(error)
                watch(Finished())
        kernels = probes(policy, built[0].work)
        times = _take_turns(built, kernels, calls, progress)
        policy.reset()
        where = machine() | {"load_average": [round(load, 2), round(os.getloadavg()[0], 2)]}
    rows, probed = times[: len(built)], times[len(built) :]
    rows, probed = list(zip(built, rows, strict=True)), list(zip(kernels, probed, strict=True))
    return Latencies(policy, rows, probed, left_out, where, calls, rate_hz)


def time_calls(call: Callable[[], object], calls: int, prepare: Callable[[], object] | None = None) -> Array:
    """Return (calls, 3): wall and CPU microseconds of each call, and how often another process took its core.

    CPU time and interruptions are those of all threads of this process.
    """
    times = np.empty((calls, 3))
    for index in range(calls):
        if prepare is not None:
            prepare()
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        call()
        wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
        times[index] = wall / 1e3, cpu / 1e3, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches
    return times


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def on_device(policy: PolicyModule, name: str) -> PolicyModule:
    """Move a policy.

    Raises:
        LaminarError: no such device here.
    """
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise LaminarError(f"device={name} is no device; use cpu, cuda or cuda:1") from error
    if kind not in ("cpu", "cuda"):
        raise LaminarError(f"device={name} is not supported; use cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise LaminarError(f"device={name}, but PyTorch finds no CUDA device; use device=cpu")
    return policy.to(name)


def _check_numbers(**lists: Sequence[Any]) -> None:
    for name, values in lists.items():
        if not values:
            raise LaminarError(f"{name}=[] leaves nothing to measure; give at least one number")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise LaminarError(f"{name} must be a whole number of at least 1, got {value}")


def _runtimes(policy: PolicyModule, names: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """Return the runtimes to measure, eager first, and why others are left out."""
    known = sorted(RUNTIMES.names(), key=lambda name: name != "eager")  # the reference comes first
    for name in names or ():
        if name not in known:
            raise LaminarError(f"no runtime is called '{name}' (known: {', '.join(known)}){nearest(str(name), known)}")
    suits = [name for name in known if name in suitable(policy)]
    wanted = suits if names is None else list(dict.fromkeys(names))
    if not wanted:
        raise LaminarError(f"runtimes=[] leaves nothing to measure; name some of {', '.join(known)}")
    reasons = {name: unavailable(name, policy) for name in wanted}
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    if names is not None and left_out:
        name, reason = next(iter(left_out.items()))
        raise LaminarError(f"runtime {name} cannot run here: {reason}")
    return [name for name in wanted if name not in left_out], left_out


def _candidates(
    policy: PolicyModule, runtime: str, steps: Sequence[Any], batches: Sequence[int], seed: int
) -> list[Candidate]:
    """Build a runtime for all steps and batches; the first one also makes whole decisions."""
    found: list[Candidate] = []
    for step in steps:
        for batch in batches:
            found += _build(policy, Case(runtime, step, batch), seed, decides=not found)
    return found


def _build(policy: PolicyModule, case: Case, seed: int, decides: bool) -> list[Candidate]:
    steps = resolve_steps(policy, case.steps)
    program, generator = SamplingProgram(policy, steps), torch.Generator(policy.device).manual_seed(seed + 2)
    inputs = program.example(case.batch, torch.Generator().manual_seed(seed))
    windows = inputs[-len(program.keys) :]
    # on the host, where a robot's sensors leave it
    observation = {key: value.cpu() for key, value in zip(program.keys, windows, strict=True)}
    # What users do without any of this is the reference: the policy itself, not a runtime called eager around it.
    plain = case.runtime == "eager"
    fast = policy if plain else accelerate(policy, case.runtime, case.batch, steps)
    more: dict[str, Any] = {"steps": steps} if plain else {}

    def sample() -> Tensor:
        return fast.sample(observation, generator=generator, **more).cpu()

    with torch.inference_mode():
        first = time_calls(sample, 1)[0, 0] / 1e6
        same = Agreement() if plain else sampler_agreement(program, fast.sample, case.batch, seed)
    seconds = getattr(fast, "build_seconds", 0.0)
    costs = (seconds, first, same.largest, same.agrees, program.calls.count, work_of(program, inputs))
    found = [Candidate(case, sample, None, *costs)]
    if decides:
        now = {key: value[:, -1] for key, value in observation.items()}
        # the policy's own `act` knows its configured number of steps alone
        actor = accelerate(policy, "eager", case.batch, steps) if plain and steps is not None else fast
        # After a reset a chunk is due: without it, most decisions of a policy that executes several actions wait for
        # nothing, and the one that matters hides behind them.
        found.append(Candidate(replace(case, what="act"), lambda: actor.act(now).cpu(), actor.reset, *costs))
    return found


def _take_turns(
    candidates: Sequence[Candidate], kernels: Sequence[Probe], calls: int, progress: Progress
) -> list[Timing]:
    """Time all candidates and kernels, `calls` calls each in rounds of rotated order."""
    rounds = min(ROUNDS, calls)
    jobs = [(candidate.call, candidate.prepare, calls) for candidate in candidates]
    jobs += [(kernel.run, None, PROBE_CALLS * rounds) for kernel in kernels]
    times: list[list[Array]] = [[] for _ in jobs]
    turns = progress(rounds * len(jobs), "turn", "timing")
    with torch.inference_mode(), turns as watch, _frozen_garbage():
        for turn in range(rounds):
            for place in range(len(jobs)):
                which = (turn + place) % len(jobs)
                call, prepare, total = jobs[which]
                time_calls(call, _WARM, prepare)
                times[which].append(time_calls(call, total // rounds + (turn < total % rounds), prepare))
                watch(Finished())
    return [Timing(parts) for parts in times]


@contextmanager
def _frozen_garbage() -> Generator[None]:
    """Let calls pay for their own garbage, not for walking through all that was imported."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
