"""Real-time sampling: any saved policy as a fast callable, with the same numbers as `policy.sample`.

    fast = accelerate(load_policy("runs/flow"), runtime="auto", batch=1)
    chunk = fast(observation)                  # (1, H, A), as policy.sample(observation)
    action = fast.act(observation)             # history, receding horizon, checks: as policy.act

A loop is built once for each (batch, steps) and then runs without Python in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import LaminarError
from ..module import PolicyModule
from ..processes.solver_schedules import Steps
from .accelerated import Accelerated, unavailable
from .fastest import fastest
from .pace import keep_pace, resolve_steps


def accelerate(
    policy: PolicyModule | Accelerated,
    runtime: str = "auto",
    batch: int | Sequence[int] = 1,
    steps: Steps | str = None,
    rate_hz: float | None = None,
) -> Accelerated:
    """Return `policy` as a fast callable; its weights stay shared with it.

    Args:
        policy: any policy made of tensors, also a guided one.
        runtime: "eager", "compile", "cuda_graph", "compiled_cuda_graph", "pt2", "onnx"; or "auto", which builds those
            that suit the device and are built in seconds, measures them and keeps the fastest that agrees with eager.
        batch: observations a call. Several sizes may be given; a call with fewer is padded to the next of them.
        steps: network calls a sample, a solver schedule, or the name of one of the policy's; None is the policy's own
            number. "auto" takes the best schedule that is in time for the control rate, see `pace.keep_pace`.
        rate_hz: control rate for "auto", chunks a second; None is the rate of the policy's Spec.

    Raises:
        LaminarError: the runtime is unknown, cannot be used here, or failed to build; the reason is given.
    """
    source = policy.source if isinstance(policy, Accelerated) else policy
    sizes = _sizes(batch)
    if steps == "auto":
        return keep_pace(source, lambda steps: _built(source, runtime, sizes, steps), rate_hz)
    if rate_hz is not None:
        raise LaminarError(f"rate_hz={rate_hz:g} has an effect with steps=auto only; leave one of them out")
    return _built(source, runtime, sizes, resolve_steps(source, steps))


def _built(policy: PolicyModule, runtime: str, sizes: list[int], steps: Steps) -> Accelerated:
    if runtime == "auto" and not policy.remembers:
        return fastest(policy, sizes, steps)
    if policy.remembers and steps is not None:
        raise LaminarError("a planner that keeps whole plans makes them in its own number of steps; leave steps out")
    runtime = "eager" if runtime == "auto" else runtime
    reason = unavailable(runtime, policy)
    if reason is not None:
        raise LaminarError(f"runtime={runtime} cannot be used: {reason}; choose another one, or runtime=auto")
    return Accelerated(policy, runtime, sizes, steps)


def _sizes(batch: Any) -> list[int]:
    """Return the batch sizes to prepare, ascending."""
    sizes = list(batch) if isinstance(batch, Sequence) else [batch]
    if not sizes or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise LaminarError(f"batch must be a whole number of at least 1, or several, got {batch!r}")
    return sorted(set(sizes))
