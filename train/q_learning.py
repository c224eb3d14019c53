"""Offline Q-learning: one improver for DQL, OFQL, FQL, IDQL, TD3+BC and ReBRAC, which configs/method/ spells out."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..data.batches import Batch, Transitions
from ..data.episodes import Episodes
from ..policies import Policy
from ..policies.networks.critics import CriticConfig
from .agent import Agent, draw
from .improver import Context, Improver
from .q_update import QUpdate, Rates


@dataclass
class Config:
    """Settings of offline Q-learning; the defaults are DQL's (Wang et al. 2023)."""

    name: str = "q_learning"
    batch_size: int = 256
    lr: float = 3e-4  # of Adam, for the actor
    critic_lr: float = 3e-4
    final_lr: float = 1.0  # share of both that a half cosine over the run ends at; 1 keeps them constant
    discount: float = 0.99
    n_step: int = 1  # rewards in a target; a chunk's target always has one reward for each of its actions
    reward: str = "none"  # tuning of the rewards in training, see rewards.py
    # critic
    critic: CriticConfig = field(default_factory=CriticConfig)
    target_rate: float = 0.005  # share of the critic that its slow copy takes over every update
    target_value: str = "min"  # of the target's heads: min or mean
    backup_actions: int = 1  # actions whose best value is backed up; DQL takes 10 on most AntMazes
    target_noise: float = 0.0  # deviation of noise on the target's actions (TD3), normalized units
    target_noise_clip: float = 0.5
    target_penalty: float = 0.0  # of the squared distance between the target's and the data's next action (ReBRAC)
    expectile: float | None = None  # implicit Q-learning: V is this expectile of Q, and targets are V(s')
    # actor
    eta: float = 1.0  # weight of the critic's term; 0 clones
    q_head: str = "random"  # value that the actor climbs: of a random head, mean, min or first
    q_scale: str = "policy"  # the critic's term is divided by mean |Q| of the policy's or the data's actions, or none
    behavior_weight: float = 1.0
    distill: float = 0.0  # above 0: a one-call actor is distilled from the policy, with this weight (FQL's alpha)
    one_call: bool = False  # climb Q at a one-call estimate from a noised action of the data (EDP)
    actor_every: int = 1  # critic updates for each of the actor and of the slow copies (TD3)
    max_grad_norm: float | None = None
    ema_decay: float = 0.995  # of the actor's slow copy, which targets use and which is deployed
    ema_every: int = 5  # updates between two steps of it
    ema_start: int = 1000  # until then it is a plain copy


class QLearning(Improver):
    """Improver that climbs a learned Q while it stays near the demonstrations. `policy()` has the averaged weights."""

    def __init__(self, policy: Policy, episodes: Episodes, config: Config, context: Context) -> None:
        self.config, self.context = config, context
        self.agent = Agent(policy.to(context.device), config).to(context.device)
        self.agent.requires_grad_(False)
        self.transitions = Transitions(episodes, config.discount, context.device)
        self._update = QUpdate(self.agent, autocast=context.autocast)
        self.state_ = self._update.start()
        self._run = torch.compile(self._advance, fullgraph=True) if context.compiled else self._advance
        self._bind()

    def update(self, step: int) -> dict[str, Tensor]:
        """Take one update and return detached metrics, still on the device."""
        index = self.transitions.draw(self.config.batch_size, self.context.generator)
        draws = draw(self.agent, self.config.batch_size, self.context.generator)
        act = step % self.config.actor_every == 0
        return self._run(self.transitions.gather(index), draws, self._rates(step), act)

    def _advance(self, batch: Batch, draws: dict[str, Any], rates: Rates, act: bool) -> dict[str, Tensor]:
        """Update the state in place, so that a compiled update writes each value once."""
        state, metrics = self._update(self.state_, batch, draws, rates, act)
        for name, value in state.items():
            self.state_[name].copy_(value)
        return metrics

    def _rates(self, step: int) -> Rates:
        config = self.config
        share = config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * step / self.context.steps))
        average = 1.0 if step < config.ema_start else (1 - config.ema_decay) * (step % config.ema_every == 0)
        numbers = (share * config.lr, share * config.critic_lr, average)
        return Rates(*(torch.tensor(number, device=self.context.device) for number in numbers))

    def _bind(self) -> None:
        """Make the averaged policy's parameters views of the state, so that it is always up to date."""
        named = dict(self.agent.named_parameters())
        for part in ("averaged", "target"):
            for name, view in self._update.layouts[part].views(self.state_[part]).items():
                named[name].data = view

    def policy(self) -> Policy:
        """Return the policy with averaged weights; it holds the target critic."""
        return self.agent.averaged

    def state(self) -> dict[str, Tensor]:
        """All tensors, besides the averaged policy and its critic, that an exact resume needs."""
        kept = {name: value for name, value in self.state_.items() if name not in ("averaged", "target")}
        return kept | {"generator": self.context.generator.get_state()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned; the averaged policy is loaded from its own file."""
        for name, value in state.items():
            if name != "generator":
                self.state_[name].copy_(value)
        self.context.generator.set_state(state["generator"])
