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
"""next_noise, noise, prior (B, n), and with edits next_edit, edit (B, k A); all standard normal."""


def critic_loss(agent: Agent, batch: Batch, draws: Draws, reward_scale: Tensor) -> tuple[Tensor, Metrics]:
    """L_A = sum_i mean (Q_i(s, a) - y)^2, y = r + gamma (1 - done) Q'(s', base(s', w')), w' ~ pi(s').

    The entropy of w' is added to Q' only if `entropy_backup` says so. With edits Q' is that of the better of edited
    and unedited (EXPO, Dong et al. 2026). Rewards and gamma are those of n chunks.
    """
    with torch.no_grad():
        value = _next_value(agent, batch["next_cond"], draws)
        y = reward_scale * batch["reward"] + batch["discount"] * value  # (B,)
    q = agent.critic(batch["cond"].flatten(1), batch["action"])
    loss = F.mse_loss(q, y.expand_as(q), reduction="none").mean(dim=1).sum()
    return loss, {"critic_loss": loss.detach(), "q": q.detach().mean(), "target": y.mean()}


def _next_value(agent: Agent, cond: Tensor, draws: Draws) -> Tensor:
    """Q'(s', a') (B,) of what the policy would do next."""
    s, config = cond.flatten(1), agent.config
    w, density = agent.noises(cond, draws["next_noise"]), None
    if config.entropy_backup:
        w, density = agent.actor.sample_with_density(s, draws["next_noise"])
    action = agent.execute(cond, w)
    value = agent.judged(agent.target(s, action))
    if config.edits:
        value = torch.maximum(value, agent.judged(agent.target(s, agent.edit(cond, action, draws["next_edit"]))))
    return value if density is None else value - agent.log_temperature.exp() * density


def proposals(agent: Agent, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
    """Noises (B, n) that the base can be fed, and its executed actions for them (B, k A).

    A share `on_policy` of them are the actor's own, the others N(0, I) within its bound.
    """
    cond = batch["cond"]
    with torch.no_grad():
        own = agent.noises(cond, draws["noise"])
        if not agent.config.steer:
            return own, agent.execute(cond, own)
        bound = agent.config.noise_bound
        count = round(agent.config.on_policy * len(own))
        w = torch.cat([own[:count], draws["prior"][count:].clamp(-bound, bound)])
        return w, agent.execute(cond, w)


def noise_critic_loss(agent: Agent, batch: Batch, w: Tensor, action: Tensor) -> tuple[Tensor, Metrics]:
    """L_W = sum_i mean (Q_i(s, w) - Q_i(s, base(s, w)))^2 / 2, head by head, on `proposals`."""
    s = batch["cond"].flatten(1)
    with torch.no_grad():
        wanted = agent.critic(s, action)  # (heads, B)
    q = agent.noise_critic(s, w)
    loss = 0.5 * F.mse_loss(q, wanted, reduction="none").mean(dim=1).sum()
    return loss, {"noise_critic_loss": loss.detach()}


def actor_loss(agent: Agent, batch: Batch, draws: Draws, prior: Any) -> tuple[Tensor, Metrics]:
    """L_pi = E[alpha log pi(w | s) - Q(s, w) + prior (log pi(w | s) - log N(w; 0, I))]; alpha follows the entropy.

    The temperature's own loss is -log alpha (log pi + target entropy), as in SAC (Haarnoja et al. 2018).
    """
    s, actor, config = batch["cond"].flatten(1), agent.actor, agent.config
    w, density = actor.sample_with_density(s, draws["noise"])
    q = agent.judged(agent.noise_critic(s, w))
    alpha = agent.log_temperature.exp().detach()
    away = density + 0.5 * w.square().sum(dim=1)  # log pi - log N(w; 0, I), but for a constant
    policy = (alpha * density - q + prior * away).mean()
    missing = (density + config.target_entropy * actor.noise_dim).detach().mean()
    loss = policy - agent.log_temperature * missing
    return loss, {"loss": policy.detach(), "entropy": -density.detach().mean() / actor.noise_dim, "temperature": alpha}


def editor_loss(agent: Agent, batch: Batch, action: Tensor, draws: Draws) -> tuple[Tensor, Metrics]:
    """L_delta = E[-mean_i Q_i(s, a + delta) / |Q| + penalty (delta / scale)^2], as in TD3 (ResFiT) but for the penalty.

    The actions a are those of `proposals`. Without the penalty an edit that gains a little at every step, by a critic's
    error, goes to its bound in all dimensions, always the same way, and the robot with it.
    """
    cond, config = batch["cond"], agent.config
    edited = agent.edit(cond, action, draws["edit"])
    q = agent.critic(cond.flatten(1), edited).mean(dim=0)
    size = ((edited - action) / config.edit_scale).square().mean()
    with torch.no_grad():
        gain = (q - agent.critic(cond.flatten(1), action).mean(dim=0)).mean()
    loss = -q.mean() / q.detach().abs().mean().clamp_min(1e-6) + config.edit_penalty * size
    return loss, {"edit_gain": gain, "edit_size": (edited - action).detach().abs().mean()}
