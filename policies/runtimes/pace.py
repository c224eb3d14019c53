"""How many network calls a control period allows: the policy's named solver schedules, the best one that is in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from ...errors import LaminarError, nearest
from ..module import PolicyModule
from ..processes.solver_schedules import SolverSchedule, Steps
from .accelerated import Accelerated
from .program import SamplingProgram

CALLS = 1_000  # timed for each schedule; the 99th percentile of fewer says little


def resolve_steps(policy: PolicyModule, value: Any) -> Steps:
    """Return a number of network calls or a schedule as it is, and the schedule of the policy that a name means.

    Raises:
        LaminarError: the policy has no schedule of this name, or it is no number of calls.
    """
    if isinstance(value, str):
        if value not in policy.schedules:
            known = f"(known: {', '.join(policy.schedules) or 'none'}){nearest(value, policy.schedules)}"
            raise LaminarError(f"the policy has no schedule '{value}' {known}; laminar schedule searches them")
        return policy.schedules[value]
    if isinstance(value, SolverSchedule):
        return value
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise LaminarError(f"steps must be a whole number of at least 1, got {value}")
    return value


def keep_pace(policy: PolicyModule, build: Callable[[Steps], Accelerated], rate_hz: float | None = None) -> Accelerated:
    """Return the policy accelerated with its best schedule whose chunk is there within a control period at p99.

    The policy's own number of calls and all its named schedules are tried, most calls first, since more calls are
    closer to the process; of equal ones the searched schedule is first. What was measured is in the result's `why`.

    Args:
        policy: any policy.
        build: accelerates the policy with so many steps, or a schedule.
        rate_hz: control rate, chunks a second; None is the rate of the policy's Spec.

    Raises:
        LaminarError: no rate is known, or nothing is fast enough; the fastest is named.
    """
    rate = policy.spec.rate_hz if rate_hz is None else rate_hz
    if rate is None:
        raise LaminarError("steps=auto needs a control rate, and the policy's Spec has none: give rate_hz=200")
    if not rate > 0:
        raise LaminarError(f"rate_hz must be above 0, got {rate}")
    told: list[str] = []
    best = float("inf")
    for name, steps, calls in _by_calls(policy):
        fast = build(steps)
        late = _p99(fast)
        told.append(f"{name}: {calls} calls, {late * 1e3:.3f} ms at p99 with {fast.runtime}")
        if late <= 1 / rate:
            fast.why = [*fast.why, *told, f"chosen: {name}, within the {1e3 / rate:.3g} ms of {rate:g} Hz"]
            return fast
        best = min(best, late)
    raise LaminarError(
        f"nothing is there within the {1e3 / rate:.3g} ms of {rate:g} Hz at p99 ({'; '.join(told)}); search schedules "
        f"of fewer calls with laminar schedule, distill the policy, or run at {0.9 / best:.3g} Hz"
    )


def _by_calls(policy: PolicyModule) -> list[tuple[str, Steps, int]]:
    """Name, steps and network calls of every choice, most calls first."""
    choices: list[tuple[str, Steps, int]] = [
        (name, schedule, schedule.calls) for name, schedule in policy.schedules.items()
    ]
    choices.append(("the configured steps", None, SamplingProgram(policy).calls.count))
    return sorted(choices, key=lambda choice: (-choice[2], not isinstance(choice[1], SolverSchedule)))


def _p99(fast: Accelerated) -> float:
    """99th percentile of a call in seconds, host to host."""
    inputs = fast.loop(fast.sizes[0]).program.example(fast.sizes[0], torch.Generator().manual_seed(0))
    windows = dict(zip(fast.spec.observation, inputs[-len(fast.spec.observation) :], strict=True))
    obs = {key: value.cpu().numpy() for key, value in windows.items()}
    seconds: list[float] = []
    for call in range(CALLS + 20):  # the first ones warm caches
        started = time.perf_counter()
        fast.infer(obs)
        if call >= 20:
            seconds.append(time.perf_counter() - started)
    return sorted(seconds)[round(0.99 * (CALLS - 1))]
