"""What steering trains around a frozen base: actors of noises and of edits, a critic of chunks, and one of noises."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from ....policies.edited import Edited, new_editor
from ....policies.guided import new_critic
from ....policies.module import PolicyModule
from ....policies.networks.critics import Critic
from ....policies.networks.noise_actor import NoiseActor
from ....policies.steered import Steered, as_noise, check_base, new_actor
from .config import Config


class Agent(nn.Module):
    """Everything that learns, and the base that does not; its children but for the policy are parts of a state.

    Attributes:
        policy: the base, behind what is learned of it: steered, edited, or both.
        learning_actor: of noises, where the policy's is its slow copy; see `actor`.
        critic: Q(s, a) of the executed part of a normalized chunk.
        target: its slow copy.
        noise_critic: Q(s, w) of the base's noise, which the actor climbs; there only where noises are learned.
        log_temperature: () of the actor's entropy; there only where noises are learned.
    """

    def __init__(self, base: PolicyModule, config: Config) -> None:
        """Build what learns, untrained."""
        super().__init__()
        check_base(base)
        self.config, spec = config, base.spec
        self.policy = composed(base, config)
        self.executed = spec.execute
        self.critic = new_critic(base, config.critic, spec.execute)
        self.target = deepcopy(self.critic)
        self.noise_critic: Critic
        self.log_temperature: nn.Parameter
        self.learning_actor: NoiseActor
        if config.averages:
            self.learning_actor = deepcopy(self.steered.noise_actor)
        if config.steer:
            width = spec.history * base.condition_dim
            self.noise_critic = Critic(config.critic, width, self.steered.noise_actor.noise_dim)
            self.log_temperature = nn.Parameter(torch.tensor(config.temperature).log())

    @property
    def steered(self) -> Steered:
        """The base behind the noise actor."""
        found = self.policy.composed_of if self.config.edits else self.policy
        assert isinstance(found, Steered)  # asked only where noises are learned
        return found

    @property
    def actor(self) -> NoiseActor:
        """The actor of noises that learns; the policy's own, or what that is a slow copy of."""
        return self.learning_actor if self.config.averages else self.steered.noise_actor

    @property
    def edited(self) -> Edited:
        """What edits the chunks."""
        assert isinstance(self.policy, Edited)  # asked only where edits are learned
        return self.policy

    @property
    def base(self) -> PolicyModule:
        """The frozen policy."""
        found = self.policy.composed_of if self.config.edits else self.policy
        return found.composed_of if self.config.steer else found

    def part_of(self, name: str) -> str | None:
        """Part that a parameter belongs to; None for those of the base, which may have actors of its own."""
        if name.startswith("learning_actor."):
            return "actor"
        if not name.startswith("policy."):
            return name.split(".")[0]
        inside = name.removeprefix("policy.")
        if self.config.edits:
            if inside.startswith("editor."):
                return "editor"
            inside = inside.removeprefix("base.")
        if not (self.config.steer and inside.startswith("noise_actor.")):
            return None
        return "slow_actor" if self.config.averages else "actor"

    def explorer(self) -> PolicyModule:
        """Return who acts before anything was learned: the base, half of whose chunks are edited, by noise alone.

        A critic that has seen no edits says of all what it likes (ResFiT, which begins with noise on its base too).
        """
        if not self.config.edits:
            return self.base
        noise = new_editor(self.base, self.config.actor, self.config.edit_scale, deviation=1.0)
        return Edited(self.base, noise.to(self.base.device), share=0.5)

    def noises(self, cond: Tensor, noise: Tensor) -> Tensor:
        """Map conditions (B, h, D) and N(0, I) noise (B, n) to what the base is fed now, (B, n)."""
        return self.actor.sample(cond.flatten(1), noise) if self.config.steer else noise

    def execute(self, cond: Tensor, w: Tensor) -> Tensor:
        """Map conditions (B, h, D) and noises (B, n) to the executed part of the base's chunks (B, k A), normalized."""
        noise = as_noise(self.steered, w) if self.config.steer else w.view(-1, *self.base.noise_shape)
        return self.normalized(self.base.decode(cond, noise)[:, : self.executed])

    def edit(self, cond: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        """Edit executed actions (B, k A), normalized, by noise of the same shape, inside the limits of actions."""
        moved = action + self.edited.editor(cond.flatten(1), action, noise)
        return torch.maximum(torch.minimum(moved, self._limit("high")), self._limit("low"))

    def _limit(self, which: str) -> Tensor:
        """(k A,) lowest or highest normalized actions."""
        limit = self.base.action_limits[which == "high"]
        return self.normalized(limit.expand(1, self.executed, -1))[0]

    def normalized(self, action: Tensor) -> Tensor:
        """Return raw actions (B, k, A) in the base's units, flat (B, k A)."""
        return self.base.normalized(action).flatten(1)

    def judged(self, q: Tensor) -> Tensor:
        """Values (heads, B) as one (B,): their mean less `pessimism` deviations; of two heads 1 is the least."""
        spread = q.std(dim=0, correction=0) if len(q) > 1 else q.new_zeros(q.shape[1])
        return q.mean(dim=0) - self.config.pessimism * spread


def composed(base: PolicyModule, config: Config) -> PolicyModule:
    """Return the base with untrained actors before and behind it, as the settings say."""
    policy = base
    if config.steer:
        policy = Steered(base, new_actor(base, config.actor, config.noise_bound, config.repeated), config.repeated)
    if config.edits:
        editor = new_editor(base, config.actor, config.edit_scale, config.edit_deviation)
        policy = Edited(policy, editor, share=0.0)
    return policy
