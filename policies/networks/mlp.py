"""Multilayer perceptron on [flat chunk, time embedding, flat observations]."""

# No `from __future__ import annotations`: Config is read by OmegaConf, which needs real types.
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...settings import choice, number
from . import Network
from .activations import ACTIVATIONS, activation
from .embeddings import TimeEmbedding
from .layers import LayerNorm, Residual, push_forward


@dataclass
class Config:
    """Settings; activation="mish" with the other defaults is the network of DQL (Wang et al. 2023)."""

    name: str = "mlp"
    width: int = number(256, least=1)  # of every hidden layer
    depth: int = number(3, least=1, most=1000)  # hidden layers, or residual blocks of two layers each
    activation: str = choice("silu", *ACTIVATIONS)  # relu is for policy=direct only
    residual: bool = False  # pre-activation residual blocks
    layer_norm: bool = False  # before every activation (residual: at the start of each block)
    time_width: int = number(16, least=2)  # even; sinusoids per time
    min_frequency: float = number(0.3, above=0)  # rad per unit of time, of the slowest sinusoid
    max_frequency: float = number(5.0, above=0)  # rad per unit of time, of the fastest


def residual_block(config: Config) -> Residual:
    """Return x + Linear(act(Linear(act(norm(x))))) on (B, width)."""
    return Residual(
        *([LayerNorm(config.width)] if config.layer_norm else []),
        activation(config.activation),
        nn.Linear(config.width, config.width),
        activation(config.activation),
        nn.Linear(config.width, config.width),
    )


def hidden_layers(config: Config, inputs: int) -> list[nn.Module]:
    """Return the layers from the input up to the last activation."""
    if config.residual:
        blocks = [residual_block(config) for _ in range(config.depth)]
        return [nn.Linear(inputs, config.width), *blocks, activation(config.activation)]
    layers: list[nn.Module] = []
    for index in range(config.depth):
        layers.append(nn.Linear(config.width if index else inputs, config.width))
        if config.layer_norm:
            layers.append(LayerNorm(config.width))
        layers.append(activation(config.activation))
    return layers


class MLP(Network):
    """Plain or residual perceptron; the fastest network, for state observations and short chunks."""

    def __init__(
        self, config: Config, *, horizon: int, action_dim: int, history: int, condition_dim: int, n_times: int
    ) -> None:
        """Build for chunks (H, A), observations (h, D) and `n_times` times; initialized as PyTorch does."""
        super().__init__(config)
        time_dim = n_times * config.time_width
        self.time_embedding = TimeEmbedding(
            n_times,
            config.time_width,
            hidden=2 * time_dim,
            output=time_dim,
            activation_name=config.activation,
            min_frequency=config.min_frequency,
            max_frequency=config.max_frequency,
        )
        self.input_sizes = [horizon * action_dim, time_dim, history * condition_dim]
        inputs = sum(self.input_sizes)
        hidden = hidden_layers(config, inputs)
        outputs = horizon * action_dim
        self.layers = nn.Sequential(*hidden, nn.Linear(config.width if hidden else inputs, outputs))

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Map x (B, H, A), times (B, n_times) and cond (B, h, D) to (B, H, A)."""
        # (B, H A + time + h D); views and one cat, since this runs in every denoising step
        features = torch.cat((x.flatten(1), self.time_embedding(times), cond.flatten(1)), dim=1)
        return self.layers(features).view_as(x)

    def conditions(self, times: Tensor, cond: Tensor) -> list[Tensor]:
        """Return, for each of times (K, n_times), what times and cond (B, h, D) add to the first layer: (B, width)."""
        first = cast("nn.Linear", self.layers[0])
        _, of_time, of_observation = first.weight.split(self.input_sizes, dim=1)
        table = F.linear(self.time_embedding(times), of_time, first.bias)  # (K, width)
        observed = F.linear(cond.flatten(1), of_observation)  # (B, width)
        return [observed + row for row in table.unbind()]

    def body(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map x (B, H, A) under one of `conditions` to (B, H, A)."""
        first = cast("nn.Linear", self.layers[0])
        hidden = torch.addmm(condition, x.flatten(1), first.weight[:, : self.input_sizes[0]].t())
        for layer in self.layers[1:].children():
            hidden = layer(hidden)
        return hidden.view_as(x)

    def jvp(
        self, x: Tensor, times: Tensor, cond: Tensor, x_tangent: Tensor, times_tangent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate with the derivative along (x_tangent, times_tangent); see `Network.jvp`."""
        time, time_tangent = push_forward(self.time_embedding, times, times_tangent)
        flat = cond.flatten(1)
        features = torch.cat((x.flatten(1), time, flat), dim=1)
        tangent = torch.cat((x_tangent.flatten(1), time_tangent, torch.zeros_like(flat)), dim=1)
        value, slope = push_forward(self.layers, features, tangent)
        return value.view_as(x), slope.view_as(x)
