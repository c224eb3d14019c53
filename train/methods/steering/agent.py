"""What steering trains: a noise actor, a critic of executed chunks, and one of noises, around a frozen base."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from ....policies.generative import generative
from ....policies.guided import new_critic
from ....policies.module import PolicyModule
from ....policies.networks.critics import Critic
from ....policies.steered import Steered, as_noise, new_actor
from .config import Config


class Agent(nn.Module):
    """Everything that learns, and the base that does not; its children but for the base are the parts of a state.

    Attributes:
        steered: the base behind the noise actor.
        critic: Q(s, a) of the executed part of a normalized chunk.
        target: its slow copy.
        noise_critic: Q(s, w) of the base's noise, which the actor climbs.
        log_temperature: () of the actor's entropy.
    """

    def __init__(self, base: PolicyModule, config: Config) -> None:
        """Build what learns, untrained."""
        super().__init__()
        self.config, spec, inner = config, base.spec, generative(base)
        self.steered = Steered(
            base, new_actor(base, config.actor, config.noise_bound, config.repeated), config.repeated
        )
        self.executed = spec.execute
        self.critic = new_critic(inner, config.critic, spec.execute)
        self.target = deepcopy(self.critic)
        width = spec.history * inner.encoder.output_dim
        self.noise_critic = Critic(config.critic, width, self.steered.noise_actor.noise_dim)
        self.log_temperature = nn.Parameter(torch.tensor(config.temperature).log())

    def execute(self, cond: Tensor, w: Tensor) -> Tensor:
        """Map conditions (B, h, D) and noises (B, n) to the executed part of the base's chunks (B, k A), normalized."""
        chunk = self.steered.composed_of.decode(cond, as_noise(self.steered, w))
        return self.normalized(chunk[:, : self.executed])

    def normalized(self, action: Tensor) -> Tensor:
        """Return raw actions (B, k, A) in the base's units, flat (B, k A)."""
        normalizer = generative(self.steered).action_normalizer
        return normalizer({"action": action})["action"].flatten(1)

    def judged(self, q: Tensor) -> Tensor:
        """Values (heads, B) as one (B,): their mean less `pessimism` deviations; of two heads 1 is the least."""
        spread = q.std(dim=0, correction=0) if len(q) > 1 else q.new_zeros(q.shape[1])
        return q.mean(dim=0) - self.config.pessimism * spread


def part_of(name: str) -> str | None:
    """Part that a parameter of the agent belongs to; None for those of the base."""
    if name.startswith("steered."):
        return "actor" if name.startswith("steered.noise_actor.") else None
    return name.split(".")[0]
