"""The losses of offline improvement, as the papers write them: an actor, a critic, and their slow copies.

Diffusion Q-learning (DQL, Wang et al. 2023), one-step flow Q-learning (OFQL), flow Q-learning (FQL, Park et al. 2025),
implicit Q-learning (Kostrikov et al. 2022), TD3+BC (Fujimoto and Gu 2021) and ReBRAC (Tarasov et al. 2023) are choices
of a behavior loss, a critic term and a target.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....policies import GenerativePolicy
from ....policies.networks.critics import Critic
from ....policies.processes import Draws, Metrics
from ....policies.processes.diffusion import Diffusion
from ....policies.processes.unrolled import Unrolled, call_times

if TYPE_CHECKING:
    from .improver import Config

Loss = tuple[Tensor, Metrics]
HEADS = ("random", "mean", "min", "first")
"""Which value the actor climbs."""
SCALES = ("policy", "data", "none")
"""Whose actions' mean |Q| divides it."""


class Agent(nn.Module):
    """Everything that learns, as one module, so that `torch.func.functional_call` can give it other weights.

    Attributes:
        actor: the policy that learns.
        averaged: its slow copy, which gives the targets' actions and is deployed; holds the target critic.
        critic: Q(s, a) of normalized chunks.
        value: V(s) of implicit Q-learning, or None.
        teacher: the flow clone that a one-call actor is distilled from (FQL), or None.
    """

    def __init__(self, policy: GenerativePolicy, config: Config, teacher: GenerativePolicy | None = None) -> None:
        """Build untrained critics around a policy."""
        super().__init__()
        self.config = config
        self.actor = policy
        self.averaged = deepcopy(policy)
        self.critic = policy.new_critic(config.critic)
        self.averaged.critic = deepcopy(self.critic)
        width = policy.spec.history * policy.encoder.output_dim
        self.value = Critic(replace(config.critic, heads=1), width, 0) if config.expectile is not None else None
        self.teacher = teacher
        self.low: Tensor
        self.high: Tensor
        for name in ("low", "high"):  # what the environment accepts, in the actor's units
            limit = policy.action_normalizer({"action": getattr(policy, f"action_{name}")})["action"]
            self.register_buffer(name, limit, persistent=False)
        self.times: Tensor  # (K, n_times) of the network calls that make an action
        self.teacher_times: Tensor
        self.register_buffer("times", call_times(policy.process), persistent=False)
        self.register_buffer("teacher_times", call_times((teacher or policy).process), persistent=False)

    @property
    def target(self) -> Critic:
        """The slow copy of the critic."""
        assert self.averaged.critic is not None
        return self.averaged.critic

    def forward(self, method: str, *inputs: Any) -> Loss:
        """Call a loss by name; `functional_call` knows no other method than this one."""
        return getattr(self, method)(*inputs)

    def critic_loss(self, batch: Mapping[str, Any], draws: Mapping[str, Any]) -> Loss:
        """L_Q = sum_i mean (Q_i(s, a) - y)^2 over the heads; with V also its expectile regression."""
        s, a = self.encode(batch["observation"]), self.normalized(batch["action"])  # (B, h D), (B, H, A)
        y, next_q = self._target(batch, draws)  # (B,), (B,)
        q = self.critic(s, a.flatten(1))  # (heads, B)
        loss = F.mse_loss(q, y.expand_as(q), reduction="none").mean(dim=1).sum()
        metrics = {"critic_loss": loss.detach(), "q": q.detach().mean(), "target": y.mean(), "next_q": next_q.mean()}
        if "return" in batch:  # only steps whose return is known
            known = batch["return_known"]
            excess = (q.detach().mean(dim=0) - batch["return"]) * known
            metrics["q_minus_return"] = excess.sum() / known.sum().clamp(min=1.0)
        if self.value is not None:
            value_loss = self._value_loss(s, a)
            loss, metrics["value_loss"] = loss + value_loss, value_loss.detach()
        return loss, metrics

    def actor_loss(self, batch: Mapping[str, Any], draws: Mapping[str, Any], eta: Tensor | None = None) -> Loss:
        """L = w L_behavior - eta E[Q(s, a_pi)] / scale, with a_pi drawn from the actor through all its steps.

        `eta` is the weight of this update, None is the configured one.
        """
        cond, a = self._cond(self.actor, batch["observation"]), self.normalized(batch["action"])
        behavior, metrics, action = self._behavior(cond, a, batch, draws)
        loss = self.config.behavior_weight * behavior
        metrics = {"behavior_loss": behavior.detach(), **{k: v for k, v in metrics.items() if k != "loss"}}
        if self.config.eta > 0:
            if action is None:
                action = self._sample(self.actor, draws["noise"], cond, draws["chain"])
            gain, more = self._critic_term(cond, a, action, draws["coin"])
            loss, metrics = loss - (self.config.eta if eta is None else eta) * gain, metrics | more
        return loss, {"loss": loss.detach(), **metrics}

    @torch.no_grad()
    def _target(self, batch: Mapping[str, Any], draws: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Y = r + gamma^n (1 - done) Q_target(s', a'), or V(s'); also the bootstrapped value."""
        next_observation = batch["next_observation"]
        if self.value is not None:
            next_q = self.value(*self._no_action(self.encode(next_observation))).squeeze(0)
        else:
            next_q = self._next_q(batch, draws)
        return batch["reward"] + batch["discount"] * next_q, next_q

    def _next_q(self, batch: Mapping[str, Any], draws: Mapping[str, Any]) -> Tensor:
        """Q_target(s', a') with a' from the averaged actor; of several a' each head takes its best (max-Q backup)."""
        count, heads = self.config.backup_actions, self.target.heads
        cond = self._cond(self.averaged, batch["next_observation"])  # (B, h, D)
        cond = cond.repeat_interleave(count, dim=0) if count > 1 else cond
        a = self._sample(self.averaged, draws["next_noise"], cond, draws["next_chain"])  # (B count, H, A)
        if self.config.target_noise > 0:
            limit = self.config.target_noise_clip
            a = self._bounded(a + (self.config.target_noise * draws["smoothing"]).clamp(-limit, limit))
        q = self.target(cond.flatten(1), a.flatten(1)).view(heads, -1, count).amax(dim=2)  # (heads, B)
        next_q = q.amin(dim=0) if self.config.target_value == "min" else q.mean(dim=0)
        if self.config.target_penalty > 0:  # ReBRAC (Tarasov et al. 2023, eq. 5): a' should be what the data do next
            apart = (a - self.normalized(batch["next_action"])).square().sum(dim=(1, 2))  # (B,)
            next_q = next_q - self.config.target_penalty * apart
        return next_q

    def _value_loss(self, s: Tensor, a: Tensor) -> Tensor:
        """L_V = mean |tau - 1(u < 0)| u^2 with u = Q_target(s, a) - V(s) (Kostrikov et al. 2022, eq. 5)."""
        assert self.value is not None
        assert self.config.expectile is not None
        with torch.no_grad():
            q = self.target(s, a.flatten(1)).amin(dim=0)
        u = q - self.value(*self._no_action(s)).squeeze(0)
        weight = torch.where(u < 0, 1 - self.config.expectile, self.config.expectile)
        return (weight * u.square()).mean()

    def _behavior(
        self, cond: Tensor, a: Tensor, batch: Mapping[str, Any], draws: Mapping[str, Any]
    ) -> tuple[Tensor, Metrics, Tensor | None]:
        """The loss that keeps the actor near the data; also the action (B, H, A) for the critic, if one is at hand."""
        inputs = (a, cond, batch.get("mask"), draws["behavior"])
        if self.config.one_call:  # EDP (Kang et al. 2023, eq. 8): of the same network call
            process = self.actor.process
            assert isinstance(process, Diffusion)
            behavior, metrics, action = process.one_call(self.actor.network, *inputs)
            return behavior, metrics, self._bounded(action)
        cloned = self.teacher or self.actor
        behavior, metrics = cloned.process.objective(cloned.network, *inputs)
        if self.teacher is None:
            return behavior, metrics, None
        distance, action = self._distance(self.teacher, draws["noise"], cond)
        metrics = metrics | {"flow_loss": behavior.detach(), "distillation": distance.detach()}
        return behavior + self.config.distill * distance, metrics, action

    def _distance(self, teacher: GenerativePolicy, noise: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """E || a_pi(s, z) - a_teacher(s, z) ||^2 of one call and the teacher's flow (Park et al. 2025); also a_pi."""
        with torch.no_grad():
            taught = self._sample(teacher, noise, cond, None)  # (B, H, A)
        own = self._unbounded(self.actor, noise, cond, None)  # (B, H, A)
        return F.mse_loss(own, taught), self._bounded(own)

    def _critic_term(self, cond: Tensor, a: Tensor, action: Tensor, coin: Tensor) -> Loss:
        """E[Q(s, a_pi)] over its scale; the critic's weights are constants here.

        `coin` is 0 or 1: with random heads one leads and the other scales, as in DQL's public code.
        """
        s = cond.detach().flatten(1)
        q = self.critic(s, action.flatten(1))  # (heads, B)
        if self.config.q_head == "random":
            chosen, other = torch.lerp(q[0], q[1], coin), torch.lerp(q[1], q[0], coin)
        else:
            chosen = {"first": q[0], "mean": q.mean(dim=0), "min": q.amin(dim=0)}[self.config.q_head]
            other = chosen
        scale = self._scale(other, s, a)
        return chosen.mean() / scale, {"actor_q": chosen.detach().mean(), "q_scale": scale}

    @torch.no_grad()
    def _scale(self, q: Tensor, s: Tensor, a: Tensor) -> Tensor:
        """Mean |Q| of the actor's actions (DQL), or of the data's (OFQL), or 1."""
        if self.config.q_scale == "none":
            return torch.ones((), device=q.device)
        values = self.critic(s, a.flatten(1)).mean(dim=0) if self.config.q_scale == "data" else q
        return values.abs().mean().clamp(min=1e-6)  # a critic that says 0 everywhere has no scale

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Encoded observations (B, h D) as the critics see them; they do not train the encoder."""
        return self._cond(self.actor, observation).detach().flatten(1)

    def normalized(self, action: Tensor) -> Tensor:
        """Raw chunks (B, H, A) in the actor's units."""
        return self.actor.action_normalizer({"action": action})["action"]

    def _cond(self, policy: GenerativePolicy, observation: Mapping[str, Tensor]) -> Tensor:
        return policy.encode(observation)  # (B, h, D)

    def _sample(self, policy: GenerativePolicy, noise: Tensor, cond: Tensor, chain: Tensor | None) -> Tensor:
        """Chunks within the limits, since the critic shall judge what the environment will get."""
        return self._bounded(self._unbounded(policy, noise, cond, chain))

    def _unbounded(self, policy: GenerativePolicy, noise: Tensor, cond: Tensor, chain: Tensor | None) -> Tensor:
        times = self.teacher_times if policy is self.teacher else self.times
        network: Any = Unrolled(policy.network, times)
        return policy.process.sample(network, noise, cond, generator=chain)

    def _bounded(self, action: Tensor) -> Tensor:
        return action.clamp(self.low, self.high)

    @staticmethod
    def _no_action(s: Tensor) -> tuple[Tensor, Tensor]:
        return s, s.new_empty(len(s), 0)


def draw(agent: Agent, size: int, generator: torch.Generator) -> dict[str, Any]:
    """All the randomness of one update of `size` transitions."""
    shape, device, config = agent.actor.noise_shape, agent.actor.device, agent.config

    def normal(*lead: int) -> Tensor:
        return torch.randn(*lead, *shape, generator=generator, device=device)

    like = torch.empty(1, device=device).expand(size, *shape)  # only its shape and device matter
    behavior: Draws = (agent.teacher or agent.actor).process.draw(like, generator)
    draws: dict[str, Any] = {"behavior": behavior, "noise": normal(size)}
    draws["next_noise"] = normal(size * config.backup_actions)
    inner = agent.actor.process.inner_draws
    draws["chain"] = normal(inner, size) if inner else None
    draws["next_chain"] = normal(inner, size * config.backup_actions) if inner else None
    draws["coin"] = torch.randint(2, (), generator=generator, device=device).float()
    if config.target_noise > 0:
        draws["smoothing"] = normal(size * config.backup_actions)
    return draws
