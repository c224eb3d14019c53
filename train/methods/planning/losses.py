"""The losses of a planner's parts; each is about one part alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....policies.planners.inverse import pairs
from ....policies.processes import Draws, Metrics
from .parts import Parts

Batch = Mapping[str, Any]


def plan_loss(parts: Parts, batch: Batch, draws: Draws) -> tuple[Tensor, Metrics]:
    """Return the process's own regression on recorded plans, see `Plans.loss`."""
    return parts.online.plans.loss(batch, draws=draws)


def inverse_loss(parts: Parts, batch: Batch, draws: Draws, count: int) -> tuple[Tensor, Metrics]:
    """Return the cloning loss of the actions between two recorded states."""
    assert parts.online.inverse is not None
    return parts.online.inverse.loss(pairs(batch, count), draws=draws)


def draft_loss(parts: Parts, batch: Batch, size: int) -> tuple[Tensor, Metrics]:
    """Return the squared error of what follows each recorded token, in the first windows (Trajectory Diffuser)."""
    plans = parts.online.plans
    assert plans.drafter is not None
    loss = plans.drafter.loss(*plans.drafted({name: batch[name][:size] for name in ("state", "return")}))
    return loss, {"loss": loss.detach()}


def critic_loss(parts: Parts, batch: Batch) -> tuple[Tensor, Metrics]:
    """Return the squared error of the return from the beginning of recorded plans, from 0 to 1 (Diffusion Veteran)."""
    planner = parts.online
    plans, critic = planner.plans, planner.critic
    assert critic is not None
    with torch.no_grad():
        cond = plans.encode(plans.observed(batch))
        plan = plans.normalized(plans.layout.tokens(batch["state"], batch["action"]))
    returns = plans.told(batch["return"][:, 0])[:, 0]
    error = (critic(cond.flatten(1), plan.flatten(1)) - returns).square().mean()
    return error, {"loss": error.detach()}
