"""How far a sampling step deviates: a learned, bounded amount of noise for steps that have none of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...settings import check, number


@dataclass
class NoiseHeadConfig:
    """Settings of a noise head; deviations are in normalized actions."""

    width: int = number(64, least=1)  # of every hidden layer, with tanh between them
    depth: int = number(2, least=1, most=1000)  # hidden layers
    low: float = number(0.10, above=0)  # least deviation
    high: float = number(0.24, above=0)  # largest deviation at first


class NoiseHead(nn.Module):
    """sigma(s, t) within [low, high], for each number of a chunk (ReinFlow, Zhang et al. 2025).

    It begins in the middle of its bounds, in logarithms, everywhere. It serves learning only: what is learned is saved
    without it.
    """

    def __init__(self, config: NoiseHeadConfig, condition_dim: int, noise_shape: tuple[int, int]) -> None:
        """Build the perceptron.

        Args:
            config: its settings.
            condition_dim: width of a flat condition.
            noise_shape: (H, A) of a chunk.

        Raises:
            LaminarError: a setting is outside its bounds.
        """
        super().__init__()
        check(config, "noise_head")
        self.config, self.noise_shape = config, noise_shape
        layers: list[nn.Module] = []
        inputs = condition_dim + 1
        for _ in range(config.depth):
            layers += [nn.Linear(inputs, config.width), nn.Tanh()]
            inputs = config.width
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(inputs, math.prod(noise_shape))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, cond: Tensor, times: Tensor, high: Any) -> Tensor:
        """Map conditions (B, h, D) and times (B, 1) to deviations (B, H, A), at most `high`."""
        place = 0.5 + 0.5 * torch.tanh(self.last(self.layers(torch.cat([cond.flatten(1), times], dim=1))))
        low = math.log(self.config.low)
        span = (math.log(high) if isinstance(high, float) else high.log()) - low
        return torch.exp(low + span * place).unflatten(1, self.noise_shape)

    if TYPE_CHECKING:

        def __call__(self, cond: Tensor, times: Tensor, high: Any) -> Tensor:
            """Evaluate `forward`, typed."""
            ...
