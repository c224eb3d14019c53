"""A network of one's own: residual blocks whose hidden layer is gated by a second one (SwiGLU, Shazeer 2020).

python examples/own/network.py train network=gated network.width=192 policy=flow data.path=demos.hdf5 out=runs/gated
python examples/own/network.py export policy.path=runs/gated format=onnx out=gated_onnx
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import laminar
from laminar.cli import main
from laminar.policies.networks import Network
from laminar.policies.networks.embeddings import TimeEmbedding
from laminar.policies.networks.layers import LayerNorm
from laminar.settings import number


@dataclass
class Config:
    """Settings: `network.…` on the command line."""

    name: str = "gated"
    width: int = number(256, least=1)  # of the residual stream
    depth: int = number(3, least=1)  # blocks
    time_width: int = number(16, least=2)  # even; sinusoids per time


class Block(nn.Module):
    """x + W (silu(U x) * V x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = LayerNorm(width)  # torch has no forward derivative of its own inside a compiler
        self.gate_and_value = nn.Linear(width, 2 * width)  # U and V in one product
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width) to (B, width)."""
        gate, value = self.gate_and_value(self.norm(x)).chunk(2, dim=1)
        return x + self.out(F.silu(gate) * value)


class Gated(Network):
    """Smooth in the times, no dropout, no branch on values: so it works with every process and every runtime."""

    def __init__(
        self, config: Config, *, horizon: int, action_dim: int, history: int, condition_dim: int, n_times: int
    ) -> None:
        """Build for chunks (H, A), observations (h, D) and `n_times` times."""
        super().__init__(config)  # checks the settings
        times = n_times * config.time_width
        self.time_embedding = TimeEmbedding(n_times, config.time_width, hidden=2 * times, output=times)
        chunk = horizon * action_dim
        self.layers = nn.Sequential(
            nn.Linear(chunk + times + history * condition_dim, config.width),
            *(Block(config.width) for _ in range(config.depth)),
            nn.Linear(config.width, chunk),
        )

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Map x (B, H, A), times (B, n_times) and cond (B, h, D) to (B, H, A)."""
        features = torch.cat((x.flatten(1), self.time_embedding(times), cond.flatten(1)), dim=1)
        return self.layers(features).view_as(x)


if __name__ == "__main__":
    laminar.register("network", sys.modules[__name__])
    sys.exit(main(sys.argv[1:]))
