"""A critic asked about chunks, as the environment would get them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..generative import generative
from ..module import PolicyModule
from ..networks.critics import Critic


class Judge:
    """The least value of a critic's heads. Conditions are (B, h, D); a critic may judge what is executed of a chunk."""

    def __init__(self, policy: PolicyModule, critic: Critic) -> None:
        """Judge the chunks of a policy; nothing is copied."""
        self.policy, self.critic = policy, critic

    def of_chunks(self, cond: Tensor, chunks: Tensor) -> Tensor:
        """(B,) values of chunks (B, H, A) in raw units."""
        return self._of(cond.flatten(1), self._normalized(chunks))

    def of_data(self, cond: Tensor, data: Tensor) -> Tensor:
        """(B,) values of normalized chunks (B, H, A), inside the action limits."""
        return self.of_chunks(cond, generative(self.policy).to_raw(data))

    def gradient(self, cond: Tensor, data: Tensor) -> Tensor:
        """(B, H, A) gradient of the value at normalized chunks, taken where they are inside of the action limits.

        Also where it points outwards: what is moved ends at the limits anyway.
        """
        state, inside = cond.flatten(1), self._normalized(generative(self.policy).to_raw(data))
        return torch.func.grad(lambda chunk: self._of(state, chunk).sum())(inside).view_as(data)

    def _normalized(self, chunks: Tensor) -> Tensor:
        return self.policy.normalized(chunks).flatten(1)

    def _of(self, state: Tensor, flat: Tensor) -> Tensor:
        return self.critic(state, flat[:, : self.critic.action_dim]).amin(dim=0)
