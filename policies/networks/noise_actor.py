"""What steers: a squashed Gaussian over the noises of a frozen policy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...settings import check, choice, number
from .activations import ACTIVATIONS
from .activations import activation as activation_by_name

LOG_STD = (-20.0, 2.0)
"""Bounds of the logarithm of the deviation before the squashing, as in SAC."""


@dataclass
class NoiseActorConfig:
    """Settings of a noise actor."""

    width: int = number(256, least=1)  # of every hidden layer
    depth: int = number(3, least=1, most=1000)  # hidden layers
    activation: str = choice("tanh", *ACTIVATIONS)  # between its layers
    layer_norm: bool = True  # normalize before every activation


class NoiseActor(nn.Module):
    """pi(w | s) = bound * tanh(u) with u ~ N(mean(s), std(s)^2), a distribution of n numbers of noise.

    It begins as the same distribution everywhere, whose deviation is 1 where the bound allows that: as the noise that
    the frozen policy was trained with, cut off at the bound.

    Attributes:
        config: settings of its layers.
        bound: noises lie within it.
        noise_dim: n.
        widths: of the hidden layers, where they differ from one another.
        clips: noises are bound * clip(u, -1, 1) instead, as algorithms have them that do not squash (PPO).
    """

    def __init__(
        self,
        config: NoiseActorConfig,
        condition_dim: int,
        noise_dim: int,
        bound: float,
        widths: Sequence[int] | None = None,
        clips: bool = False,
    ) -> None:
        """Build the perceptron.

        Raises:
            LaminarError: a setting is outside its bounds.
        """
        super().__init__()
        check(config, "actor")
        self.config, self.bound, self.noise_dim = config, bound, noise_dim
        self.widths, self.clips = None if widths is None else list(widths), clips
        sizes = widths or [config.width] * config.depth
        self.layers = perceptron(config, condition_dim, sizes)
        self.head = nn.Linear(sizes[-1], 2 * noise_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.bias[noise_dim:] = math.log(unit_deviation(bound))

    def forward(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Map conditions (B, condition_dim) to mean and logarithm of the deviation (B, n) before the squashing."""
        mean, log_std = self.head(self.layers(cond)).chunk(2, dim=1)
        return mean, log_std.clamp(*LOG_STD)

    @property
    def described(self) -> dict[str, Any]:
        """What `described_actor` builds it anew of, without its weights, as plain values."""
        return asdict(self.config) | {"bound": self.bound, "widths": self.widths, "clips": self.clips}

    def sample(self, cond: Tensor, noise: Tensor) -> Tensor:
        """Map conditions (B, condition_dim) and standard normal noise (B, n) to noises w (B, n) within the bound."""
        mean, log_std = self(cond)
        u = mean + log_std.exp() * noise
        return self.bound * (u.clamp(-1, 1) if self.clips else torch.tanh(u))

    def sample_with_density(self, cond: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return noises w (B, n) as `sample` does, and log pi(w | s) (B,), a density in units of w.

        What is clipped has no density.
        """
        mean, log_std = self(cond)
        u = mean + log_std.exp() * noise
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log d/du bound tanh(u) = log bound + 2 (log 2 - u - softplus(-2 u)), which large u do not overflow
        slope = math.log(self.bound) + 2 * (math.log(2) - u - F.softplus(-2 * u))
        return self.bound * torch.tanh(u), (gaussian - slope).sum(dim=1)

    if TYPE_CHECKING:

        def __call__(self, cond: Tensor) -> tuple[Tensor, Tensor]:
            """Evaluate `forward`, typed."""
            ...


def described_actor(described: Mapping[str, Any], condition_dim: int, noise_dim: int) -> NoiseActor:
    """Build an actor without its weights of what `NoiseActor.described` says."""
    settings = dict(described)
    bound, widths, clips = (settings.pop(name) for name in ("bound", "widths", "clips"))
    return NoiseActor(NoiseActorConfig(**settings), condition_dim, noise_dim, bound, widths, clips)


def perceptron(config: NoiseActorConfig, inputs: int, widths: Sequence[int] | None = None) -> nn.Sequential:
    """Return the hidden layers of an actor, (B, inputs) -> (B, width); of these widths where they differ."""
    layers: list[nn.Module] = []
    for before, after in pairwise([inputs, *(widths or [config.width] * config.depth)]):
        layers.append(nn.Linear(before, after))
        if config.layer_norm:
            layers.append(nn.LayerNorm(after))
        layers.append(activation_by_name(config.activation))
    return nn.Sequential(*layers)


def unit_deviation(bound: float) -> float:
    """Return the deviation s for which bound * tanh(s e), e ~ N(0, 1), has deviation 1, or nearly the largest it has.

    The deviation grows with s towards the bound; at most 0.9 of it is asked for, or the noise would sit at its ends.
    """
    nodes, weights = _standard_normal()
    wanted, low, high = min(1.0, 0.9 * bound), 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        deviation = math.sqrt(
            sum(w * (bound * math.tanh(middle * x)) ** 2 for x, w in zip(nodes, weights, strict=True))
        )
        low, high = (middle, high) if deviation < wanted else (low, middle)
    return high


def _standard_normal() -> tuple[list[float], list[float]]:
    """Return nodes and weights of an expectation over N(0, 1): a fine Riemann sum."""
    nodes = [-8 + 0.01 * index for index in range(1601)]
    weights = [0.01 * math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi) for x in nodes]
    return nodes, weights
