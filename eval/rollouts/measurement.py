"""What every evaluation shares: where its seeds are rolled out, and how long that took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import LaminarError, Stopped
from ...policies.policy import Policy
from ...progress import silent
from ...settings import whole_seeds
from ..results.origin import Origin
from .here import EvaluationProtocol, measure_here
from .measured import Measurement, Record
from .on_ray import OnRay
from .options import DEFAULTS, RolloutOptions
from .processes import Processes
from .shards import Job, Place


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
    place = _place(options)
    with options.progress(len(seeds)) as watch:
        if place is None:
            found, _ = measure_here(protocol, policy, env_id, seeds, options, watch)
        elif isinstance(policy, str):
            found, _ = place.run(Job(protocol, env_id, options.but(progress=silent)), policy, seeds, watch)
        else:
            raise LaminarError("workers load the policy themselves: give a saved policy's folder, or processes=0")
    seconds = time.perf_counter() - begin
    if not found.records:
        raise Stopped(message="interrupted before anything was finished; nothing was measured")
    return replace(found, planned=len(seeds), seconds=seconds, origin=origin)


def _place(options: RolloutOptions) -> Place | None:
    """Return where the seeds are rolled out in shards; None is this process, in one."""
    if options.cluster is not None:
        return OnRay(options.cluster)
    return Processes(options.processes) if options.processes else None
