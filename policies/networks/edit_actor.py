"""What edits: a bounded residual on a chunk that a frozen policy made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...settings import check
from .noise_actor import NoiseActorConfig, perceptron


class EditActor(nn.Module):
    """delta(s, a) = scale * clip(tanh(f(s, a)) + deviation * e, -1, 1), e ~ N(0, I), in normalized actions.

    It begins as no edit but for the noise; the scale bounds how far an action can be moved (Policy Decorator, Yuan et
    al. 2025; ResFiT, Ankile et al. 2025).
    """

    def __init__(
        self, config: NoiseActorConfig, condition_dim: int, action_dim: int, scale: float, deviation: float
    ) -> None:
        """Build the perceptron; action_dim numbers are edited.

        Raises:
            LaminarError: a setting is outside its bounds.
        """
        super().__init__()
        check(config, "actor")
        self.config, self.action_dim, self.scale, self.deviation = config, action_dim, scale, deviation
        self.layers = perceptron(config, condition_dim + action_dim)
        self.head = nn.Linear(config.width, action_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, cond: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        """Map conditions (B, condition_dim), normalized actions and noise (B, action_dim) to edits (B, action_dim)."""
        mean = torch.tanh(self.head(self.layers(torch.cat((cond, action), dim=1))))
        return self.scale * (mean + self.deviation * noise).clamp(-1, 1)

    if TYPE_CHECKING:

        def __call__(self, cond: Tensor, action: Tensor, noise: Tensor) -> Tensor:
            """Evaluate `forward`, typed."""
            ...
