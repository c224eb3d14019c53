"""All the randomness of one update of offline improvement."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...update.group import Group
from .agent import Agent

ANCHOR_TIMES = (0.1, 0.9)
"""Between which a sample is noised again: near 0 a flow sees the sample itself, and near 1 nothing of it."""


def draw(agent: Agent, size: int, generator: torch.Generator, group: Group | None = None) -> dict[str, Any]:
    """Draw for an update of `size` transitions, of which this process of a group takes its share."""
    shape, device, config = agent.actor.noise_shape, agent.actor.device, agent.config
    share = (group or Group()).share
    count = config.backup_actions

    def normal(*lead: int, rows: int = 0) -> Tensor:
        """Standard normal (*lead, H, A), of the transitions along the axis `rows`."""
        return share(torch.randn(*lead, *shape, generator=generator, device=device), rows)

    def several(*lead: int) -> Tensor:
        """The same for `count` actions of each transition, (*lead, size * count, H, A)."""
        every = torch.randn(*lead, size * count, *shape, generator=generator, device=device)
        at = len(lead)
        return share(every.unflatten(at, (size, count)), at).flatten(at, at + 1)

    like = torch.empty(1, device=device).expand(size, *shape)  # only its shape and device matter
    behavior = (agent.teacher or agent.actor).process.draw(like, generator)
    draws: dict[str, Any] = {"behavior": tuple(share(one) for one in behavior), "noise": normal(size)}
    draws["next_noise"] = several()
    inner = agent.actor.process.inner_draws
    draws["chain"] = normal(inner, size, rows=1) if inner else None
    draws["next_chain"] = several(inner) if inner else None
    draws["coin"] = torch.randint(2, (), generator=generator, device=device).float()
    if agent.actor.augments:
        for name in ("look", "next_look"):
            draws[name] = share(agent.actor.look(size, generator))
    if config.anchor > 0:
        first, last = ANCHOR_TIMES
        t = first + (last - first) * torch.rand(size, 1, generator=generator, device=device)
        levels = agent.actor.process.time_levels
        t = (t * levels).round().clamp(min=1) / levels if levels else t
        draws |= {"anchor_noise": normal(size), "anchor_time": share(t)}
    if config.target_noise > 0:
        draws["smoothing"] = several()
    return draws
