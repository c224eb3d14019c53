"""A plan that is there already, improved by the last steps of a process: from a draft, or from the plan of before."""

from __future__ import annotations

from typing import cast

import torch

from ...errors import LaminarError
from ..networks import Network
from ..processes import Process, even_times
from ..processes.guides import Guide
from ..processes.solver_schedules import Steps
from ..processes.solvers import Level
from .config import PlannerConfig


def check_lasts(process: Process, config: PlannerConfig) -> None:
    """Refuse a process by whose last steps no plan can be improved, when a planner is built or told to act anew.

    Raises:
        LaminarError: says what to choose.
    """
    for last in (config.draft.steps, config.follow.warm_start):
        if last:
            _check_process(process, last)


def _check_process(process: Process, last: int) -> None:
    own = process.num_steps
    if last > own:
        raise LaminarError(
            f"the process has {own} step{'s' * (own > 1)}, and its last {last} are asked for; choose at most {own} for "
            "policy.draft.steps and policy.follow.warm_start"
        )
    if process.inner_draws:
        raise LaminarError(
            "a plan is improved by steps without further noise, and this solver draws some; choose "
            "policy.process.solver=ddim"
        )
    zeros, unchanged = torch.zeros(1, 1, 1), cast(Network, lambda x, times, cond: x)
    process.kernel(unchanged, zeros, own - last, zeros)  # raises where steps do not stand alone


def check_refined(process: Process, last: int, steps: Steps = None, guide: Guide | None = None) -> None:
    """Refuse what a drafted plan cannot be made with.

    Raises:
        LaminarError: says what to choose.
    """
    own = process.num_steps
    if steps not in (None, own):
        raise LaminarError(f"a draft goes through the last {last} of {own} steps, not through others; leave steps out")
    if guide is not None:
        raise LaminarError("a draft is improved by plain steps; choose guidance=best_of_n, or plan.draft_steps=0")


def level_of(process: Process, left: int) -> Level:
    """Return the noise level from which so many of the configured steps are left."""
    if process.predicts_data:
        return process.noise_levels()[-1 - left]
    time = even_times(process.num_steps)[-1 - left]
    return Level(time, 1 - time, time)
