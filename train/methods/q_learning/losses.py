"""The actor's losses of offline improvement, as the papers write them.

    DQL   (Wang et al. 2023)            cloning       E[Q(s, a_pi)], a_pi through all steps of the diffusion
    OFQL  (one-step flow Q-learning)    cloning       the same for a mean flow, whose a_pi is one call
    EDP   (Kang et al. 2023)            one_call      E[Q] at the estimate of the very call that clones
    FQL   (Park et al. 2025)            distillation  E[Q] at a one-call actor, taught by the flow that clones
    IDQL  (Hansen-Estruch et al. 2023)  cloning       eta = 0: the critic (targets.implicit_value) only chooses later
    TD3+BC (Fujimoto and Gu 2021), ReBRAC (Tarasov et al. 2023): cloning with a deterministic actor

Which of them a run takes is chosen once, by `behavior_of` and `targets.next_value_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ....policies.processes import Metrics
from .agent import Agent
from .config import Config
from .targets import Batch, Draws


class Behavior(NamedTuple):
    """What keeps the actor near the data.

    Attributes:
        loss: () of this batch.
        metrics: detached.
        action: (B, H, A) of the actor, if the loss came by one; the critic then judges it.
    """

    loss: Tensor
    metrics: Metrics
    action: Tensor | None = None


BehaviorTerm = Callable[[Agent, Tensor, Batch, Draws], Behavior]
"""(agent, condition (B, h, D), batch, draws) -> Behavior."""


def behavior_of(config: Config) -> BehaviorTerm:
    """Choose the behavior loss."""
    if config.one_call:
        return one_call
    return distillation if config.distill > 0 else cloning


def actor_loss(
    agent: Agent, batch: Batch, draws: Draws, behavior: BehaviorTerm, eta: Any = None, cond: Tensor | None = None
) -> tuple[Tensor, Metrics]:
    """L = w L_behavior + anchor E[distance of a_pi to the data] - eta E[Q(s, a_pi)] / scale.

    `eta` is the weight of this update, None is the configured one. `cond` (B, h, D) is what the critic saw, where that
    alone trains the encoder; None encodes, so that this loss trains it.
    """
    config = agent.config
    if cond is None:
        cond = agent.actor.encode(agent.actor.changed(batch["observation"], draws.get("look")))  # (B, h, D)
    near = behavior(agent, cond, batch, draws)
    loss = config.behavior_weight * near.loss
    metrics = {"behavior_loss": near.loss.detach(), **{k: v for k, v in near.metrics.items() if k != "loss"}}
    if config.eta == 0 and config.anchor == 0:
        return loss, {"loss": loss.detach(), **metrics}
    a = near.action
    if a is None:
        a = agent.bounded(agent.sample(agent.actor, draws["noise"], cond, draws["chain"]))  # (B, H, A)
    if config.anchor > 0:
        astray = anchor(agent, cond, a, draws)
        loss, metrics = loss + config.anchor * astray, metrics | {"anchor": astray.detach()}
    if config.eta > 0:
        gain, more = critic_term(agent, cond, agent.normalized(batch["action"]), a, draws["coin"])
        loss, metrics = loss - (config.eta if eta is None else eta) * gain, metrics | more
    return loss, {"loss": loss.detach(), **metrics}


def cloning(agent: Agent, cond: Tensor, batch: Batch, draws: Draws) -> Behavior:
    """The process's own loss on the data's chunks: DDPM's, flow matching, mean flow, or a squared error."""
    a = agent.normalized(batch["action"])  # (B, H, A)
    actor = agent.actor
    return Behavior(*actor.process.objective(actor.network, a, cond, batch.get("mask"), draws["behavior"]))


def one_call(agent: Agent, cond: Tensor, batch: Batch, draws: Draws) -> Behavior:
    """Cloning, and the clean action that its network call estimates (Kang et al. 2023, eq. 8)."""
    process: Any = agent.actor.process
    inputs = (agent.normalized(batch["action"]), cond, batch.get("mask"), draws["behavior"])
    loss, metrics, a = process.one_call(agent.actor.network, *inputs)
    return Behavior(loss, metrics, agent.bounded(a))


def distillation(agent: Agent, cond: Tensor, batch: Batch, draws: Draws) -> Behavior:
    """L_flow + alpha E || a_pi(s, z) - a_flow(s, z) ||^2: the flow clones, the actor follows it (Park et al. 2025)."""
    flow, a = agent.teacher, agent.normalized(batch["action"])
    assert flow is not None
    flow_loss, metrics = flow.process.objective(flow.network, a, cond, batch.get("mask"), draws["behavior"])
    with torch.no_grad():
        taught = agent.bounded(agent.sample(flow, draws["noise"], cond, None))  # (B, H, A)
    own = agent.sample(agent.actor, draws["noise"], cond, None)  # (B, H, A)
    distance = F.mse_loss(own, taught)
    metrics = metrics | {"flow_loss": flow_loss.detach(), "distillation": distance.detach()}
    return Behavior(flow_loss + agent.config.distill * distance, metrics, agent.bounded(own))


def anchor(agent: Agent, cond: Tensor, a: Tensor, draws: Draws) -> Tensor:
    """E || a - sg(x_0(x_t)) ||^2 with a noised to x_t again, and x_0 the data that the actor's own process sees there.

    Its gradient is that of the data's log-density, smoothed by noise (score distillation; SRPO, Chen et al. 2024): a
    sample pays for being where no data are, and not for being among others than its noise had led to.
    """
    t, process = draws["anchor_time"], agent.actor.process  # (B, 1)
    x = process.noised(a.detach(), draws["anchor_noise"], t)
    with torch.no_grad():
        data = process.denoise(agent.actor.network, x, t, cond)
    return F.mse_loss(a, data)


def critic_term(agent: Agent, cond: Tensor, data: Tensor, action: Tensor, coin: Tensor) -> tuple[Tensor, Metrics]:
    """E[Q(s, a_pi)] over its scale; the critic's weights are constants here.

    `coin` is 0 or 1: with random heads one leads and the other scales, as in DQL's public code.
    """
    s = cond.detach().flatten(1)
    q = agent.critic(s, action.flatten(1))  # (heads, B)
    if agent.config.q_head == "random":
        chosen, other = torch.lerp(q[0], q[1], coin), torch.lerp(q[1], q[0], coin)
    else:
        chosen = {"first": q[0], "mean": q.mean(dim=0), "min": q.amin(dim=0)}[agent.config.q_head]
        other = chosen
    scale = scale_of(agent, other, s, data)
    return chosen.mean() / scale, {"actor_q": chosen.detach().mean(), "q_scale": scale}


@torch.no_grad()
def scale_of(agent: Agent, q: Tensor, s: Tensor, data: Tensor) -> Tensor:
    """Mean |Q| of the actor's actions (DQL), or of the data's (B, H, A) (OFQL), the slope of Q at these, or 1.

    Data parallel, it is that of the whole batch, of which each process has a share.
    """
    if agent.config.q_scale == "none":
        return torch.ones((), device=q.device)
    if agent.config.q_scale == "slope":
        return slope_of(agent, s, data.flatten(1))
    values = agent.critic(s, data.flatten(1)).mean(dim=0) if agent.config.q_scale == "data" else q
    return agent.group.mean(values.abs().mean()).clamp(min=1e-6)  # a critic that says 0 everywhere has no scale


def slope_of(agent: Agent, s: Tensor, data: Tensor) -> Tensor:
    """Return () n times the root mean square of dQ/da_i at the data's actions (B, n), of the heads' mean.

    Divided by it, the critic's term pulls each number of an action by about eta / n, as the cloning loss, a mean over
    the n numbers, pulls it back by 2 / n for each unit that it is off: eta is a distance in units of the data. Whatever
    the rewards' scale and offset, how long the task takes or how little is at stake, it means the same; beside mean |Q|
    advantages may be a thousandth.
    """
    slope = torch.func.grad(lambda action: agent.critic(s, action).mean(dim=0).sum())(data)  # (B, n)
    return (data.shape[1] * agent.group.mean(slope.square().mean()).sqrt()).clamp(min=1e-6)
