"""Action-value functions: an ensemble of perceptrons evaluated as one batched network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import LaminarError
from ...settings import check, choice, number
from .activations import ACTIVATIONS
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
        if self.weight.shape[2] == 1:  # a product with one column is several times slower than its sum
            return (x * self.weight.mT).sum(dim=2, keepdim=True) + self.bias
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


@dataclass
class CriticConfig:
    """Settings of a critic; the defaults are the twin critic of DQL (Wang et al. 2023)."""

    width: int = number(256, least=1)  # of every hidden layer
    depth: int = number(3, least=1, most=1000)  # hidden layers
    heads: int = number(2, least=1)  # independent critics
    activation: str = choice("mish", *ACTIVATIONS)  # between its layers
    layer_norm: bool = False  # normalize before every activation
    # What its network says is multiplied by `scale`, and `offset` is added, so that it need not learn how large values
    # are, beside which what is at stake may be little. Of the recorded returns, where there are such, null takes the
    # mean for the offset, and for the scale the root mean square of what they are beyond the offset.
    scale: float | None = number(1.0, above=0, null=True)
    offset: float | None = number(0.0, null=True)


class Critic(nn.Module):
    """Q(condition, action) of several independent heads; V(condition) with action_dim = 0.

    A chunk is one long action: its critic takes action_dim = H * A and flat chunks.

    Attributes:
        action_dim: numbers of an action that it judges.
    """

    def __init__(self, config: CriticConfig, condition_dim: int, action_dim: int) -> None:
        """Build the perceptrons.

        Raises:
            LaminarError: a setting is outside its bounds.
        """
        super().__init__()
        check(config, "critic")
        if config.scale is None or config.offset is None:
            name = "scale" if config.scale is None else "offset"
            raise LaminarError(
                f"critic.{name}=null is that of recorded returns, and none are known here; give a number"
            )
        self.config, self.heads, self.action_dim = config, config.heads, action_dim
        inputs = condition_dim + action_dim
        layers: list[nn.Module] = []
        for index in range(config.depth):
            layers.append(EnsembleLinear(config.heads, config.width if index else inputs, config.width))
            if config.layer_norm:
                layers.append(EnsembleLayerNorm(config.heads, config.width))
            layers.append(activation_by_name(config.activation))
        self.layers = nn.Sequential(*layers, EnsembleLinear(config.heads, config.width, 1))

    def forward(self, cond: Tensor, action: Tensor) -> Tensor:
        """Map cond (B, condition_dim) and action (B, action_dim) to values (heads, B)."""
        features = torch.cat((cond, action), dim=1)
        values = self.layers(features.expand(self.heads, -1, -1)).squeeze(2)
        values = values if self.config.scale == 1 else values * self.config.scale
        return values if self.config.offset == 0 else values + self.config.offset

    if TYPE_CHECKING:

        def __call__(self, cond: Tensor, action: Tensor) -> Tensor:
            """Evaluate `forward`, typed."""
            ...
