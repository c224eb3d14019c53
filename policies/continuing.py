"""Real-time chunking: a new chunk that goes on from the one that is executed while it is made (Black et al. 2025).

While a chunk is computed, d actions of the last one are executed, so its own first d have to be those; and the next
ones should not contradict what was planned. The last chunk is a target at the clean data that the sampler sees on its
way, and the guidance of inpainting (PiGDM, Song et al. 2023) draws the new one to it, the nearer in time the more.

Guidance alone comes near it, not to it: what is left over is a jump where the new chunk takes over. So the last word
has the plan, to the same weights: the first d actions are those that were executed, exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LaminarError
from .guided.fitting import denoised_by
from .module import PolicyModule
from .observations import Observation
from .processes.guides import Guide
from .processes.solver_schedules import Steps
from .processes.solvers import Level

MOST = 2.0
"""Largest weight of the guidance, beta, in units of velocity.

The paper has 5; of networks that learned from some thousand steps so much makes chunks that no demonstration has.
"""


def prefix_weights(horizon: int, delay: int, execute: int) -> Tensor:
    """Return (horizon,) how much each action is held to the last chunk.

    1 for those that are executed before the new chunk arrives, then falling, 0 for the last `execute`, of which the
    last chunk says nothing: W_i = c_i (e^c_i - 1) / (e - 1), c_i = (H - s - i) / (H - s - d + 1).

    Args:
        horizon: H, actions of a chunk.
        delay: d, control periods until it arrives.
        execute: s, actions that are executed of a chunk before the next one.

    Raises:
        LaminarError: unless d <= H - s: the last chunk would be used up before the new one arrives.
    """
    overlap = horizon - execute
    if not 0 <= delay <= overlap or execute < 1:
        raise LaminarError(
            f"a chunk of {horizon} actions, {execute} of which are executed, bridges a delay of 0 to {max(overlap, 0)} "
            f"control periods, not {delay}; execute fewer, or make chunks longer"
        )
    place = torch.arange(horizon, dtype=torch.float32)
    c = ((overlap - place) / (overlap - delay + 1)).clamp(0.0, 1.0)
    falling = c * torch.expm1(c) / (math.e - 1)
    return torch.where(place < delay, 1.0, torch.where(place < overlap, falling, 0.0))


@dataclass(frozen=True)
class Inpainting(Guide):
    """A direction W (y - data) towards a target y, with the weight of PiGDM.

    In units of data it is min(beta sigma, (alpha^2 + sigma^2) / alpha), of which the paper's min(beta, (1 - tau) / (tau
    r^2)) is the one in units of velocity. Without the network's Jacobian it is at most 1: the data become the target.
    """

    def weight(self, level: Level) -> float:
        """Return it at a level."""
        bound = MOST * level.sigma if self.exact else 1.0
        whole = level.alpha**2 + level.sigma**2
        return bound if level.alpha * bound <= whole else whole / level.alpha


def continued(
    policy: PolicyModule,
    obs: Observation,
    planned: Tensor,
    weights: Tensor,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    steps: Steps = None,
    exact: bool = True,
) -> Tensor:
    """Sample chunks that go on from what is planned; one that is weighted nowhere is a plain sample.

    Args:
        policy: a flow or diffusion, sampled by its solver; a critic behind it that does not act may be there.
        obs: as `PolicyModule.sample` takes it, B of them.
        planned: (B, n, A), a tensor or an array, the actions of the last chunk from the moment of the observation on,
            raw units; the last one stands for those that are missing, whose weights should be 0.
        weights: (H,) of `prefix_weights`.
        noise: (B, H, A).
        generator: of noise that is not given.
        steps: network calls.
        exact: go back through the network, J^T, as the paper does; else J is taken for the identity, which costs a
            third.

    Returns:
        (B, H, A) actions in raw units.

    Raises:
        LaminarError: the policy has no steps to guide, or a shape does not fit.
    """
    if not isinstance(policy, PolicyModule):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise LaminarError(
            f"real-time chunking goes between the steps of a policy of tensors, not of {type(policy).__name__}; give "
            "the policy itself, as `load_policy` opens it"
        )
    inner, spec, planned = denoised_by(policy), policy.spec, torch.as_tensor(planned, dtype=torch.float32)
    if not inner.process.predicts_data:
        raise LaminarError(
            "real-time chunking goes between the steps of a sample, which flow and diffusion have, and this policy is "
            f"of {inner.policy_config.process.name}; clone one with policy=flow, or any with method.prefix=4"
        )
    windows = inner.windows(obs)
    start = inner.noise_for(windows, noise, generator)
    _check(policy, planned, weights, len(start))
    planned = planned[:, : spec.chunk].to(inner.device)
    held = planned[:, -1:].expand(-1, spec.chunk - planned.shape[1], -1)
    target = inner.normalized(torch.cat([planned, held], dim=1))
    mask = weights.to(target)[:, None]
    guide = Inpainting(lambda _, __, data: mask * (target - data), exact)
    with torch.no_grad():
        chunk = inner.decode(inner.encode(windows), start, steps, generator, guide=guide)
        return torch.lerp(chunk, inner.to_raw(target), mask)


def _check(policy: PolicyModule, planned: Tensor, weights: Tensor, batch: int) -> None:
    """Refuse what `continued` cannot go on from, naming both shapes."""
    chunk, width = policy.spec.chunk, policy.spec.action_dim
    if planned.ndim != 3 or len(planned) != batch or not planned.shape[1] or planned.shape[2] != width:
        raise LaminarError(
            f"planned actions have shape {tuple(planned.shape)}, expected ({batch}, 1 to {chunk}, {width})"
        )
    if weights.shape != (chunk,):
        raise LaminarError(f"weights have shape {tuple(weights.shape)}, expected ({chunk},), one for each action")
    if not (planned.isfinite().all() and weights.isfinite().all()):
        raise LaminarError("planned actions and weights must be finite")
