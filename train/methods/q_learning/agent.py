"""What offline improvement trains: an actor, a critic, and their slow copies; maybe a value and a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ....policies.generative import GenerativePolicy, PolicyConfig
from ....policies.guided import new_critic
from ....policies.networks.critics import Critic
from ....policies.processes.direct import Config as DirectConfig
from ....policies.processes.unrolled import Unrolled, call_times
from ...update.group import Group
from .config import Config


class Agent(nn.Module):
    """Everything that learns, as one module; its children are the parts of an update's state.

    Attributes:
        actor: the policy that learns; its encoder is the critic's too, see `Config.encoder`.
        averaged: its slow copy, which gives the targets' actions and is deployed.
        critic: Q(s, a) of normalized chunks.
        target: the critic's slow copy.
        value: V(s) of implicit Q-learning, or None.
        teacher: the flow clone that a one-call actor is distilled from (FQL), or None.
        group: processes that train it together, each by its share of a batch.
    """

    def __init__(
        self,
        policy: GenerativePolicy,
        config: Config,
        teacher: GenerativePolicy | None = None,
        group: Group | None = None,
    ) -> None:
        """Build untrained critics around a policy; a `group` of processes trains it together."""
        super().__init__()
        self.group = group or Group()
        self.config = config
        self.actor = policy.train()
        self.averaged = deepcopy(policy).eval()
        self.critic = new_critic(policy, config.critic)
        self.target = deepcopy(self.critic)
        width = policy.spec.history * policy.condition_dim
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

    def encode(self, observation: Mapping[str, Tensor], look: Tensor | None = None) -> Tensor:
        """Encoded observations (B, h D) as the critics see them, pictures as a look changes them."""
        return self.actor.encode(self.actor.changed(observation, look)).flatten(1)

    def normalized(self, action: Tensor) -> Tensor:
        """Raw chunks (B, H, A) in the actor's units."""
        return self.actor.action_normalizer({"action": action})["action"]

    def sample(self, policy: GenerativePolicy, noise: Tensor, cond: Tensor, chain: Tensor | None) -> Tensor:
        """Chunks (B, H, A) of a policy through all its steps, without limits."""
        times = self.teacher_times if policy is self.teacher else self.times
        network: Any = Unrolled(policy.network, times)
        return policy.process.sample(network, noise, cond, generator=chain)

    def bounded(self, action: Tensor) -> Tensor:
        """Chunks within the limits, since the critic shall judge what the environment will get."""
        return action.clamp(self.low, self.high)

    def values(self, s: Tensor) -> Tensor:
        """V(s) (B,) of implicit Q-learning for encoded observations (B, h D)."""
        assert self.value is not None
        return self.value(s, s.new_empty(len(s), 0)).squeeze(0)


def student_of(teacher: GenerativePolicy) -> GenerativePolicy:
    """Return a policy of one call with a teacher's network, untrained, normalizers and encoder (Park et al. 2025).

    The encoder is a copy, because the teacher's network goes on from what the student's encoder sees.
    """
    normalizers = (deepcopy(teacher.observation_normalizer), deepcopy(teacher.action_normalizer))
    config: PolicyConfig = replace(teacher.policy_config, process=DirectConfig(noise=True))
    policy = GenerativePolicy(config, teacher.network_config, teacher.spec, *normalizers)
    policy.encoder.load_state_dict(teacher.encoder.state_dict())
    return policy
