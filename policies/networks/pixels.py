"""Layers of networks that see: normalization of maps, residual blocks, and where in a map a thing is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GroupNorm2d(nn.Module):
    """Group normalization (Wu and He 2018) of pictures: (N, C, H, W) to the same, for any layout in memory."""

    def __init__(self, groups: int, channels: int) -> None:
        """Start as the plain normalization of `groups` groups of channels."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(groups, channels // groups))
        self.bias = nn.Parameter(torch.zeros(groups, channels // groups))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        return F.group_norm(x, self.weight.shape[0], self.weight.flatten(), self.bias.flatten())


class Halving(nn.Module):
    """Two convolutions with a skip (He et al. 2016), the first of stride 2."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        """Build; sides are rounded up."""
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            GroupNorm2d(groups, outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            GroupNorm2d(groups, outputs),
        )
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ceil(H / 2), ceil(W / 2))."""
        return F.silu(self.branch(x) + self.skip(x))


class SpatialSoftmax(nn.Module):
    """Mean position and mean strength of each channel under its own softmax: (N, C, H, W) -> (N, 3 C).

    The positions (Levine et al. 2016, eq. 5), x and y in [-1, 1], tell where a thing is, and the strength whether it is
    there at all: a lamp that is on or off does not move.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 3 C): all x, all y, all strengths."""
        height, width = x.shape[2:]
        weight = x.flatten(2).softmax(dim=2).view_as(x)
        across = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device)
        down = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device)
        parts = (weight.sum(dim=2) @ across, weight.sum(dim=3) @ down, (weight * x).sum(dim=(2, 3)))
        return torch.cat(parts, dim=1)
