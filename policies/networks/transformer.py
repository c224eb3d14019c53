"""Transformer over the actions of a chunk and the observations of the history, conditioned by adaLN-zero."""

# No `from __future__ import annotations`: Config is read by OmegaConf, which needs real types.
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from ...errors import LaminarError
from ...settings import choice, number
from . import Network
from .activations import ACTIVATIONS, activation
from .embeddings import TimeEmbedding
from .layers import normalize


@dataclass
class Config:
    """Settings; small enough to train on a CPU."""

    name: str = "transformer"
    width: int = number(128, least=1)  # of a token
    depth: int = number(4, least=1, most=1000)  # blocks
    heads: int = number(4, least=1)  # of the attention; divides width
    mlp_ratio: int = number(4, least=1)  # hidden width of a block's perceptron over the width of a token
    activation: str = choice("gelu", *ACTIVATIONS)  # relu is for policy=direct only
    time_width: int = number(64, least=2)  # even; sinusoids per time
    min_frequency: float = number(0.3, above=0)  # rad per unit of time, of the slowest sinusoid
    max_frequency: float = number(5.0, above=0)  # rad per unit of time, of the fastest


class Attention(nn.Module):
    """Multi-head self-attention without a mask: (B, T, width) -> (B, T, width).

    Written out, because the fused kernels have no forward-mode derivative, which mean flow needs.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Build projections of `heads` heads of width / heads each."""
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        query, key, value = rearrange(self.inputs(x), "b t (three h d) -> three b h t d", three=3, h=self.heads)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)  # (B, heads, T, T)
        mixed = scores.softmax(dim=-1) @ value
        return self.output(rearrange(mixed, "b h t d -> b t (h d)"))


class Block(nn.Module):
    """Attention and perceptron, each normalized, modulated and gated by the condition (DiT, figure 3)."""

    def __init__(self, config: Config) -> None:
        """Build; the condition's projection lives in the transformer, one matrix for all blocks."""
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, config.mlp_ratio * config.width),
            activation(config.activation),
            nn.Linear(config.mlp_ratio * config.width, config.width),
        )

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Map tokens x (B, T, width) with modulation (B, 1, 6 * width) to (B, T, width)."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation.chunk(6, dim=2)
        x = x + gate * self.attention(modulate(normalize(x), shift, scale))
        return x + mlp_gate * self.mlp(modulate(normalize(x), mlp_shift, mlp_scale))


class Transformer(Network):
    """DiT (Peebles and Xie 2023) on one token an action and one token an observation of the history.

    All tokens attend to each other; only the actions' are read out. The time embedding plus the mean
    observation token modulates every block by adaLN-zero: blocks start as the identity, the output as zero.
    """

    def __init__(
        self, config: Config, *, horizon: int, action_dim: int, history: int, condition_dim: int, n_times: int
    ) -> None:
        """Build for chunks (H, A), observations (h, D) and `n_times` times; initialized as DiT.

        Raises:
            LaminarError: when the heads do not divide the width.
        """
        super().__init__(config)
        width = config.width
        if width % config.heads:
            raise LaminarError(f"transformer: width={width} is not divisible by heads={config.heads}")
        self.history = history
        self.action_token = nn.Linear(action_dim, width)
        self.observation_token = nn.Linear(condition_dim, width)
        self.positions = nn.Parameter(0.02 * torch.randn(history + horizon, width))
        self.time_embedding = TimeEmbedding(
            n_times,
            config.time_width,
            hidden=width,
            output=width,
            activation_name=config.activation,
            min_frequency=config.min_frequency,
            max_frequency=config.max_frequency,
        )
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.sizes = [6 * width] * config.depth + [2 * width]
        self.modulation = nn.Sequential(activation(config.activation), nn.Linear(width, sum(self.sizes)))
        self.head = nn.Linear(width, action_dim)
        self._initialize()

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Map x (B, H, A), times (B, n_times) and cond (B, h, D) to (B, H, A)."""
        observations = self.observation_token(cond)  # (B, h, width)
        condition = self.time_embedding(times) + observations.mean(dim=1)
        return self.body(x, (observations, self.modulation(condition)))

    def conditions(self, times: Tensor, cond: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return, for each of times (K, n_times), the tokens of cond (B, h, D) and all modulations: two tensors."""
        observations = self.observation_token(cond)  # (B, h, width)
        condition = self.time_embedding(times).unsqueeze(1) + observations.mean(dim=1)  # (K, B, width)
        return [(observations, modulation) for modulation in self.modulation(condition).unbind()]

    def body(self, x: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
        """Map x (B, H, A) under tokens (B, h, width) and modulations (B, sum of sizes) to (B, H, A)."""
        observations, modulation = condition
        *modulations, last = modulation.unsqueeze(1).split(self.sizes, dim=2)
        tokens = torch.cat((observations, self.action_token(x)), dim=1) + self.positions
        for block, modulation in zip(self.blocks, modulations, strict=True):
            tokens = block(tokens, modulation)
        shift, scale = last.chunk(2, dim=2)
        return self.head(modulate(normalize(tokens[:, self.history :]), shift, scale))

    def _initialize(self) -> None:
        """Xavier, except small time embeddings, and zeros for the modulation and the output."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        for layer in self.time_embedding:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
        for layer in (*self.modulation, self.head):
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.weight)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return x (1 + scale) + shift for tokens x (B, T, width) and (B, 1, width) modulations."""
    return torch.addcmul(shift, x, 1.0 + scale)
