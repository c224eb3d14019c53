"""The losses of steering through noise aliasing (DSRL-NA, Wagenmaker et al. 2025, algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....policies.processes import Metrics
from .agent import Agent

Batch = Mapping[str, Any]
"""cond and next_cond (B, h, D), action (B, k A) normalized, reward (B,), discount (B,), 0 where the task terminated."""
Draws = Mapping[str, Tensor]
"""next_noise, noise, prior (B, n) standard normal."""


def critic_loss(agent: Agent, batch: Batch, draws: Draws) -> tuple[Tensor, Metrics]:
    """L_A = sum_i mean (Q_i(s, a) - y)^2, y = r + gamma (1 - done) Q'(s', base(s', w')), w' ~ pi(s').

    The entropy of w' is added to Q' only if `entropy_backup` says so.
    """
    with torch.no_grad():
        following = batch["next_cond"]
        w, density = agent.steered.noise_actor.sample_with_density(following.flatten(1), draws["next_noise"])
        q = agent.target(following.flatten(1), agent.execute(following, w))  # (heads, B)
        value = agent.judged(q)
        if agent.config.entropy_backup:
            value = value - agent.log_temperature.exp() * density
        y = batch["reward"] + batch["discount"] * value  # (B,)
    q = agent.critic(batch["cond"].flatten(1), batch["action"])
    loss = F.mse_loss(q, y.expand_as(q), reduction="none").mean(dim=1).sum()
    return loss, {"critic_loss": loss.detach(), "q": q.detach().mean(), "target": y.mean()}


def noise_critic_loss(agent: Agent, batch: Batch, draws: Draws) -> tuple[Tensor, Metrics]:
    """L_W = sum_i mean (Q_i(s, w) - Q_i(s, base(s, w)))^2 / 2, head by head.

    The noises are those that the actor can choose: a share of them are its own, the others N(0, I) within its bound.
    """
    cond, bound = batch["cond"], agent.config.noise_bound
    with torch.no_grad():
        prior = draws["prior"].clamp(-bound, bound)
        own = agent.steered.noise_actor.sample(cond.flatten(1), draws["noise"])
        count = round(agent.config.on_policy * len(own))
        w = torch.cat([own[:count], prior[count:]])
        wanted = agent.critic(cond.flatten(1), agent.execute(cond, w))  # (heads, B)
    q = agent.noise_critic(cond.flatten(1), w)
    loss = 0.5 * F.mse_loss(q, wanted, reduction="none").mean(dim=1).sum()
    return loss, {"noise_critic_loss": loss.detach()}


def actor_loss(agent: Agent, batch: Batch, draws: Draws, prior: Any) -> tuple[Tensor, Metrics]:
    """L_pi = E[alpha log pi(w | s) - Q(s, w) + prior (log pi(w | s) - log N(w; 0, I))]; alpha follows the entropy.

    The temperature's own loss is -log alpha (log pi + target entropy), as in SAC (Haarnoja et al. 2018).
    """
    s, actor, config = batch["cond"].flatten(1), agent.steered.noise_actor, agent.config
    w, density = actor.sample_with_density(s, draws["noise"])
    q = agent.judged(agent.noise_critic(s, w))
    alpha = agent.log_temperature.exp().detach()
    away = density + 0.5 * w.square().sum(dim=1)  # log pi - log N(w; 0, I), but for a constant
    policy = (alpha * density - q + prior * away).mean()
    missing = (density + config.target_entropy * actor.noise_dim).detach().mean()
    loss = policy - agent.log_temperature * missing
    return loss, {"loss": policy.detach(), "entropy": -density.detach().mean() / actor.noise_dim, "temperature": alpha}
