"""What the critic learns to say: values of the next observation, and the critic's losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....policies.processes import Metrics
from .agent import Agent
from .config import Config

Batch = Mapping[str, Any]
Draws = Mapping[str, Any]
NextValue = Callable[[Agent, Batch, Draws], Tensor]
"""(agent, batch, draws) -> (B,) value of the next observation."""


def next_value_of(config: Config) -> NextValue:
    """Choose the value of the next observation: V(s') of implicit Q-learning, or Q(s', a') of an action's."""
    return sampled_value if config.expectile is None else implicit_value


def critic_loss(
    agent: Agent, batch: Batch, draws: Draws, next_value: NextValue, returns: Any = 0.0
) -> tuple[Tensor, Metrics]:
    """L_Q = sum_i mean (Q_i(s, a) - y)^2 over the heads, with y = r + gamma^n (1 - done) V'(s').

    A share `returns` of y is the recording's own return, where the whole of it is known: with 1 the critic is that of
    what was recorded (Brandfonbrener et al. 2021), which needs no values of its own and is at once of the right size.

    Beside the metrics is "cond" (B, h, D), the encoded observations, with which the actor's loss goes on.
    """
    cond = agent.actor.encode(agent.actor.changed(batch["observation"], draws.get("look")))  # (B, h, D)
    a = agent.normalized(batch["action"])  # (B, H, A)
    cond = cond if agent.config.encoder == "critic" else cond.detach()
    s = cond.flatten(1)  # (B, h D)
    with torch.no_grad():
        next_q = next_value(agent, batch, draws)  # (B,)
        y = batch["reward"] + batch["discount"] * next_q  # (B,)
        y = torch.lerp(y, batch["return"], returns * batch["return_known"])
    q = agent.critic(s, a.flatten(1))  # (heads, B)
    loss = F.mse_loss(q, y.expand_as(q), reduction="none").mean(dim=1).sum()
    metrics = {"critic_loss": loss.detach(), "q": q.detach().mean(), "target": y.mean(), "next_q": next_q.mean()}
    if "return" in batch:
        metrics["q_minus_return"] = _excess(q.detach(), batch)
    if agent.value is not None:
        value_loss = expectile_loss(agent, s, a)
        loss, metrics["value_loss"] = loss + value_loss, value_loss.detach()
    return loss, metrics | {"cond": cond.detach()}


def sampled_value(agent: Agent, batch: Batch, draws: Draws) -> Tensor:
    """Q_target(s', a') with a' from the averaged actor.

    Of several a' each head takes its best (max-Q backup, DQL), or all take the one that the critic as it is now says
    is best (Q-chunking, Li et al. 2025, whose policy is best of N).
    """
    config, count = agent.config, agent.config.backup_actions
    cond = agent.averaged.encode(agent.actor.changed(batch["next_observation"], draws.get("next_look")))  # (B, h, D)
    rows = cond.repeat_interleave(count, dim=0) if count > 1 else cond
    a = agent.bounded(agent.sample(agent.averaged, draws["next_noise"], rows, draws["next_chain"]))  # (B count, H, A)
    if config.target_noise > 0:
        limit = config.target_noise_clip
        a = agent.bounded(a + (config.target_noise * draws["smoothing"]).clamp(-limit, limit))
    if count > 1 and config.backup_best == "critic":
        a, rows = _best(agent, rows, a), cond
    q = agent.target(rows.flatten(1), a.flatten(1)).view(agent.target.heads, len(cond), -1)  # (heads, B, count or 1)
    next_q = one_value(q.amax(dim=2), config)
    if config.target_penalty > 0:  # ReBRAC (Tarasov et al. 2023, eq. 5): a' should be what the data do next
        apart = (a - agent.normalized(batch["next_action"])).square().sum(dim=(1, 2))  # (B,)
        next_q = next_q - config.target_penalty * apart
    return next_q


def _best(agent: Agent, cond: Tensor, a: Tensor) -> Tensor:
    """Return of (B count, H, A) actions the (B, H, A) that the critic says are best."""
    count = agent.config.backup_actions
    said = one_value(agent.critic(cond.flatten(1), a.flatten(1)), agent.config).view(-1, count)  # (B, count)
    best = said.argmax(dim=1)[:, None, None, None].expand(-1, 1, *a.shape[1:])
    return a.unflatten(0, (-1, count)).gather(1, best).squeeze(1)


def one_value(q: Tensor, config: Config) -> Tensor:
    """Values (heads, ...) as one (...): the least, or the mean less `pessimism` deviations of the heads."""
    if config.target_value == "min":
        return q.amin(dim=0)
    mean = q.mean(dim=0)
    return mean - config.pessimism * q.std(dim=0, correction=0) if config.pessimism > 0 else mean


def implicit_value(agent: Agent, batch: Batch, draws: Draws) -> Tensor:
    """V(s'), which no action of a policy enters (Kostrikov et al. 2022, eq. 6)."""
    return agent.values(agent.encode(batch["next_observation"], draws.get("next_look")))


def expectile_loss(agent: Agent, s: Tensor, a: Tensor) -> Tensor:
    """L_V = mean |tau - 1(u < 0)| u^2 with u = Q_target(s, a) - V(s) (Kostrikov et al. 2022, eq. 5)."""
    tau = agent.config.expectile
    assert tau is not None
    with torch.no_grad():
        q = one_value(agent.target(s, a.flatten(1)), agent.config)
    u = q - agent.values(s)
    return (torch.where(u < 0, 1 - tau, tau) * u.square()).mean()


def _excess(q: Tensor, batch: Batch) -> Tensor:
    """By how much Q (heads, B) is above the returns of the recording, where these are known."""
    known = batch["return_known"]
    return ((q.mean(dim=0) - batch["return"]) * known).sum() / known.sum().clamp(min=1.0)
