"""runtime=auto: builds what suits the device, measures it, and keeps the fastest that agrees with eager."""

from __future__ import annotations

import time

import torch

from ...errors import LaminarError
from ..module import PolicyModule
from ..processes.solver_schedules import Steps
from . import pt2
from .accelerated import Accelerated, unavailable
from .agreement import DRAWS, Agreement, sampler_agreement
from .program import SamplingProgram

PATIENCE = 2.0  # seconds for measuring all candidates


def suitable(policy: PolicyModule) -> tuple[str, ...]:
    """Return the runtimes that are worth trying on the policy's device; they may be unavailable."""
    return ("compiled_cuda_graph", "cuda_graph", "eager") if policy.device.type == "cuda" else ("onnx", "pt2", "eager")


def fastest(policy: PolicyModule, sizes: list[int], steps: Steps) -> Accelerated:
    """Build what suits the device, drop what disagrees with eager, and keep the one with the least median time."""
    built: list[Accelerated] = []
    why: list[str] = []
    for name in suitable(policy):
        reason = unavailable(name, policy)
        if (
            name == "pt2"
            and reason is None
            and not all(pt2.is_built(SamplingProgram(policy, steps), size) for size in sizes)
        ):
            reason = "it takes long to build; runtime=pt2 does so once, and auto then measures it"
        if reason is None:
            try:
                candidate = Accelerated(policy, name, sizes, steps)
            except LaminarError as error:
                reason = str(error)
            else:
                found = compare(candidate)
                reason = None if found.agrees else f"differs from eager, {found.remark}"
                built += [candidate] if reason is None else []
        if reason is not None:
            why.append(f"{name}: not used, {reason}")
    if not built:
        raise LaminarError(f"no runtime gives finite chunks ({'; '.join(why)}); look for weights that are not finite")
    medians = _medians(built)
    for candidate, median in zip(built, medians, strict=True):
        why.append(f"{candidate.runtime}: {median * 1e6:.0f} us a call, built in {candidate.build_seconds:.1f} s")
    chosen = built[medians.index(min(medians))]
    chosen.why = [*why, f"chosen: {chosen.runtime}"]
    return chosen


def compare(fast: Accelerated, seed: int = 0, draws: int = DRAWS) -> Agreement:
    """Hold an accelerated policy against eager on random observations and noise, `draws` batches of each size."""
    parts = [sampler_agreement(fast.loop(n).program, fast.sample, n, seed, draws) for n in fast.sizes]
    return Agreement(tuple(draw for part in parts for draw in part.draws))


def disagreement(fast: Accelerated, seed: int = 0) -> float:
    """Largest difference between an accelerated policy and eager for the same inputs, in normalized units.

    Measured on random observations and noise, one batch of each prepared size.
    """
    return compare(fast, seed, draws=1).largest


def _medians(candidates: list[Accelerated]) -> list[float]:
    """Median seconds of a call at the first batch size, measured in turns for at most `PATIENCE` seconds in all."""
    times: list[list[float]] = [[] for _ in candidates]
    calls = [candidate.loop(candidate.sizes[0]).call for candidate in candidates]
    end = time.perf_counter() + PATIENCE
    with torch.no_grad():
        while not times[-1] or (time.perf_counter() < end and len(times[-1]) < 200):
            for call, seconds in zip(calls, times, strict=True):
                started = time.perf_counter()
                call()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - started)
    return [sorted(seconds)[len(seconds) // 2] for seconds in times]
