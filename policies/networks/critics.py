"""Action-value functions: an ensemble of perceptrons evaluated as one batched network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import LaminarError
from .activations import activation as activation_by_name


class EnsembleLinear(nn.Module):
    """One linear layer a head in one batched product: (heads, B, inputs) -> (heads, B, outputs)."""

    def __init__(self, heads: int, inputs: int, outputs: int) -> None:
        """Draw each head's weights as `nn.Linear` does, uniform within 1 / sqrt(inputs)."""
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map (heads, B, inputs) to (heads, B, outputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleLayerNorm(nn.Module):
    """Layer normalization with a scale and a shift per head, on (heads, B, width)."""

    def __init__(self, heads: int, width: int) -> None:
        """Start as the plain normalization."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, 1, width))
        self.bias = nn.Parameter(torch.zeros(heads, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (heads, B, width) to (heads, B, width)."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.weight)


class Critic(nn.Module):
    """Q(condition, action) of several independent heads; the defaults are the twin critic of DQL (Wang 2023).

    A chunk is one long action: its critic takes action_dim = H * A and flat chunks.
    """

    def __init__(
        self,
        condition_dim: int,
        action_dim: int,
        width: int = 256,
        depth: int = 3,
        heads: int = 2,
        activation: str = "mish",
        layer_norm: bool = False,
    ) -> None:
        """Build `heads` perceptrons of `depth` hidden layers; layer_norm normalizes before every activation.

        Raises:
            LaminarError: without a head or a hidden layer.
        """
        super().__init__()
        if heads < 1 or depth < 1:
            raise LaminarError(f"a critic needs a head and a hidden layer, got {heads=} and {depth=}")
        self.heads = heads
        inputs = condition_dim + action_dim
        layers: list[nn.Module] = []
        for index in range(depth):
            layers.append(EnsembleLinear(heads, width if index else inputs, width))
            if layer_norm:
                layers.append(EnsembleLayerNorm(heads, width))
            layers.append(activation_by_name(activation))
        self.layers = nn.Sequential(*layers, EnsembleLinear(heads, width, 1))

    def forward(self, cond: Tensor, action: Tensor) -> Tensor:
        """Map cond (B, condition_dim) and action (B, action_dim) to values (heads, B)."""
        features = torch.cat((cond, action), dim=1)
        return self.layers(features.expand(self.heads, -1, -1)).squeeze(2)

    if TYPE_CHECKING:

        def __call__(self, cond: Tensor, action: Tensor) -> Tensor:
            """Evaluate `forward`, typed."""
            ...
