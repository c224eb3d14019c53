"""The losses of on-policy improvement: one family, of scores, ratios and what of them is trusted.

Each is (agent, batch, draws, rates) -> loss and metrics. A score stands for the logarithm of a probability, a ratio is
that of the policy now and of the one that acted, and the advantage says which way it should go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....policies.processes import Metrics
from . import chain
from .agent import Agent

Batch = Mapping[str, Tensor]
"""cond (B, h, D), advantage and target (B,); then what the objective scores, see `rollout.Rollout`."""
Draws = Mapping[str, Any]
"""leash: noise (K + 1, m, H, A); regression: the process's own draws for B * draws samples."""
Rates = Mapping[str, Any]
"""leash: its weight; active: tuned steps that learn; high: upper bound of the noise head."""
LARGEST_ERROR = 20.0
"""Of a sample, in `matching`: what is further away pulls no further (FPO++)."""
LARGEST_LOG_RATIO = 10.0


def value_loss(agent: Agent, batch: Batch) -> tuple[Tensor, Metrics]:
    """L_V = mean (V(s) - R)^2 / 2."""
    loss = 0.5 * F.mse_loss(agent.values(batch["cond"]), batch["target"])
    return loss, {"value_loss": loss.detach()}


def denoising(agent: Agent, batch: Batch, draws: Draws, rates: Rates) -> tuple[Tensor, Metrics]:
    """PPO on denoising steps, L = mean max(-A_i r, -A_i clip(r, 1 - eps_i, 1 + eps_i)) (DPPO, Ren et al. 2024).

    A_i = gamma_d^(K' - 1 - i) A for step i of K', the noisiest first, which also has the smallest eps_i.
    """
    step, (mean, std) = batch["step"], _steps(agent, batch)
    log_ratio = chain.score(agent, batch["next"], mean, std) - batch["old"]
    advantage = normalized(batch["advantage"]) * agent.fade[step]
    active = (step >= agent.tuned_steps - rates["active"]).float()
    each, metrics = clipped(advantage, log_ratio, agent.clip[step])
    loss = (active * each).sum() / active.sum().clamp_min(1)
    leash, found = leash_of_steps(agent, batch, draws, rates, mean, std)
    return loss + leash, metrics | found | {"loss": loss.detach()}


def noise_head(agent: Agent, batch: Batch, draws: Draws, rates: Rates) -> tuple[Tensor, Metrics]:
    """PPO on whole chains, whose steps deviate by a learned head, and its entropy (ReinFlow, Zhang et al. 2025)."""
    states, cond, high = batch["chain"], batch["cond"], rates["high"]
    before, mean, _ = chain.every_step(agent, agent.tuned, states, cond)
    std = chain.deviations(agent, cond, high)
    found = chain.score(agent, states[:, 1:].flatten(0, 1), mean, std).view(len(cond), -1)
    log_ratio = chain.of_chain(agent, states[:, 0], found) - batch["old"]
    each, metrics = clipped(normalized(batch["advantage"]), log_ratio, agent.clip[-1])
    noise = std[:, : agent.executed]
    loss, entropy = each.mean(), noise.log().mean()  # but for a constant
    whole = loss - agent.config.entropy * entropy
    metrics |= {"loss": loss.detach(), "noise": noise.detach().mean()}
    if not agent.config.leash:
        return whole, metrics
    if agent.config.leash_direction == "policy":
        step = torch.arange(agent.tuned_steps, device=cond.device).repeat(len(cond))
        with torch.no_grad():
            wanted, _ = chain.steps(agent, agent.clone, before, step, cond.repeat_interleave(agent.tuned_steps, dim=0))
        leash = chain.kl(agent, mean, wanted, std.detach()).mean()
    else:
        leash = -_of_the_clone(agent, cond, draws["leash"], high).mean()
    return whole + rates["leash"] * leash, metrics | {"leash": leash.detach()}


def matching(agent: Agent, batch: Batch, draws: Draws, rates: Rates) -> tuple[Tensor, Metrics]:
    """Ratios exp(L_old - L) of the training loss, one for each draw of time and noise (FPO++; AWM with trust=clip).

    The same draws serve the policy now, the one that acted and the clone. The leash is beta |v - v_clone|^2.
    """
    config = agent.config
    action, cond = batch["action"].repeat(config.draws, 1, 1), batch["cond"].repeat(config.draws, 1, 1)
    said, error = _errors(agent, agent.tuned, action, cond, draws)
    with torch.no_grad():
        _, before = _errors(agent, agent.old, action, cond, draws)
    log_ratio = before - error
    bounded = log_ratio + (log_ratio.clamp(max=LARGEST_LOG_RATIO) - log_ratio).detach()  # the gradient goes on
    advantage = normalized(batch["advantage"]).repeat(config.draws)
    each, metrics = (asymmetric if config.trust == "asymmetric" else clipped)(advantage, bounded, agent.clip[-1])
    loss = each.mean()
    metrics |= {"loss": loss.detach(), "matching": error.detach().mean()}
    if not config.leash:
        return loss, metrics
    with torch.no_grad():
        wanted, _ = agent.base.process.regression(agent.clone, action, cond, draws["regression"])
    leash = (said - wanted)[:, : agent.executed].square().mean()
    return loss + rates["leash"] * leash, metrics | {"leash": leash.detach()}


def pmpo(agent: Agent, batch: Batch, draws: Draws, rates: Rates) -> tuple[Tensor, Metrics]:
    """L = -alpha mean_{A > 0} log pi + (1 - alpha) mean_{A <= 0} log pi + beta KL (PMPO, Abdolmaleki et al. 2025).

    Only the sign of the advantage counts; the scores are those of denoising steps.
    """
    step, (mean, std) = batch["step"], _steps(agent, batch)
    found = chain.score(agent, batch["next"], mean, std)
    active = (step >= agent.tuned_steps - rates["active"]).float() * agent.fade[step]
    better = (batch["advantage"] > 0).float()
    good, bad = (_mean_over(found, active * which) for which in (better, 1 - better))
    share = agent.config.positive
    loss = (1 - share) * bad - share * good
    leash, further = leash_of_steps(agent, batch, draws, rates, mean, std)
    metrics = _of_ratios((found - batch["old"]).detach()) | further
    return loss + leash, metrics | {"loss": loss.detach(), "better": better.mean()}


LOSSES = {"denoising": denoising, "noise_head": noise_head, "matching": matching, "pmpo": pmpo}


def normalized(advantage: Tensor) -> Tensor:
    """Return advantages (B,) with mean 0 and deviation 1 over the batch."""
    return (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)


def clipped(advantage: Tensor, log_ratio: Tensor, clip: Tensor) -> tuple[Tensor, Metrics]:
    """max(-A r, -A clip(r, 1 - eps, 1 + eps)) (Schulman et al. 2017), (B,); eps is () or (B,)."""
    ratio = log_ratio.exp()
    inside = 1 + torch.maximum(torch.minimum(ratio - 1, clip), -clip)
    each = torch.maximum(-advantage * ratio, -advantage * inside)
    outside = ((ratio - 1).abs() > clip).float().mean()
    return each, _of_ratios(log_ratio.detach()) | {"clip_share": outside.detach()}


def asymmetric(advantage: Tensor, log_ratio: Tensor, clip: Tensor) -> tuple[Tensor, Metrics]:
    """PPO's loss where A >= 0, and where A < 0 -(r A - |A| (r - 1)^2 / (2 eps)), whose pull back is smooth (FPO++)."""
    each, metrics = clipped(advantage, log_ratio, clip)
    ratio = log_ratio.exp()
    smooth = -(ratio * advantage - advantage.abs() * (ratio - 1).square() / (2 * clip))
    return torch.where(advantage < 0, smooth, each), metrics


def leash_of_steps(
    agent: Agent, batch: Batch, draws: Draws, rates: Rates, mean: Tensor, std: Tensor
) -> tuple[Tensor | float, Metrics]:
    """Return the weighted leash to the clone, of steps.

    Towards the policy, KL(policy || clone) in the states that the policy's own chains went through: the expectation of
    what DiWA's paper writes. Towards the base, -log pi of chains that the clone samples, as in DiWA's code.
    """
    if not agent.config.leash:
        return 0.0, {}
    if agent.config.leash_direction == "policy":
        with torch.no_grad():
            wanted, _ = chain.steps(agent, agent.clone, batch["x"], batch["step"], batch["cond"])
        leash = chain.kl(agent, mean, wanted, std).mean()
    else:
        leash = -_of_the_clone(agent, batch["cond"], draws["leash"]).mean()
    return rates["leash"] * leash, {"leash": leash.detach()}


def _of_the_clone(agent: Agent, cond: Tensor, noise: Tensor, high: Any = 0.0) -> Tensor:
    """Scores by the learned network of the steps of chains that the clone samples, for the first conditions."""
    cond = cond[: noise.shape[1]]
    with torch.no_grad():
        states, _ = chain.sample(agent, agent.clone, cond, noise, high)
    _, mean, std = chain.every_step(agent, agent.tuned, states, cond)
    if agent.config.objective == "noise_head":
        std = chain.deviations(agent, cond, high)
    return chain.score(agent, states[:, 1:].flatten(0, 1), mean, std)


def _steps(agent: Agent, batch: Batch) -> tuple[Tensor, Tensor]:
    return chain.steps(agent, agent.tuned, batch["x"], batch["step"], batch["cond"])


def _errors(agent: Agent, network: Any, action: Tensor, cond: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return what a network says (B, H, A), and its squared errors (B,) over executed numbers, by their root."""
    said, wanted = agent.base.process.regression(network, action, cond, draws["regression"])
    squares = (said - wanted)[:, : agent.executed].square()
    return said, (squares.sum(dim=(1, 2)) / squares[0].numel() ** 0.5).clamp(max=LARGEST_ERROR)


def _mean_over(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum().clamp_min(1e-6)


def _of_ratios(log_ratio: Tensor) -> Metrics:
    """Return an estimate of the divergence from the policy that acted (Schulman 2020), and the mean ratio."""
    ratio = log_ratio.exp()
    return {"approx_kl": (ratio - 1 - log_ratio).mean(), "ratio": ratio.mean()}
