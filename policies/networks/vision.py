"""Pictures to vectors: a small residual convolutional network that tells what is where."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.spec import Feature
from ...errors import LaminarError

WIDTH = 64  # numbers that stand for one picture
SMALLEST = 32  # pixels a side
_STEM, _CHANNELS, _GROUPS, _KEYPOINTS = 32, 64, 8, 32


class Picture(nn.Module):
    """Encodes color pictures (H, W, C) or single-channel ones (H, W): (B, h, *shape) -> (B, h, output_dim).

    uint8 values are scaled to [-0.5, 0.5]; floats, such as depth in meters, are taken as they are. The picture is
    halved until its shorter side has 8 to 15 cells. As usual for cloning from pictures (Chi et al. 2023), residual
    blocks have group normalization, which works with averaged weights and batches of any size, and a spatial
    softmax instead of pooling. Nothing is random: training does not shift or crop.
    """

    def __init__(self, key: str, feature: Feature) -> None:
        """Build for pictures of the feature's shape.

        Raises:
            LaminarError: the shape is not (H, W) or (H, W, C) with at least 32 x 32 pixels; names the key.
        """
        super().__init__()
        shape = feature.shape
        if len(shape) not in (2, 3) or min(shape[:2]) < SMALLEST:
            raise LaminarError(
                f"observation '{key}' of shape {shape} is no picture that can be encoded: (height, width) or (height, "
                f"width, channels) with at least {SMALLEST} pixels a side; resize or transpose it, or leave it out"
            )
        self.output_dim = WIDTH
        self.bytes = feature.dtype == "uint8"
        self.plane = shape if len(shape) == 3 else (*shape, 1)  # (H, W, C)
        halvings = int(math.log2(min(shape[:2]) / 8))
        widths = [_STEM, *[_CHANNELS] * (halvings - 1)]
        self.layers = nn.Sequential(
            nn.Conv2d(self.plane[2], _STEM, 5, stride=2, padding=2, bias=False),
            GroupNorm2d(_GROUPS, _STEM),
            nn.SiLU(),
            *[HalvingBlock(*pair) for pair in pairwise(widths)],
            nn.Conv2d(widths[-1], _KEYPOINTS, 1),
            SpatialSoftmax(),
        )
        self.head = nn.Linear(3 * _KEYPOINTS, WIDTH)

    def forward(self, value: Tensor) -> Tensor:
        """Map (B, h, *shape) to (B, h, output_dim)."""
        pixels = value.reshape(-1, *self.plane).permute(0, 3, 1, 2)
        encoded = self.layers(pixels.to(self.head.weight.dtype) / 255 - 0.5 if self.bytes else pixels)
        return self.head(encoded).view(*value.shape[:2], WIDTH)


class HalvingBlock(nn.Module):
    """Two convolutions with a skip (He et al. 2016), the first of stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build; sides are rounded up."""
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            GroupNorm2d(_GROUPS, outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            GroupNorm2d(_GROUPS, outputs),
        )
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ceil(H / 2), ceil(W / 2))."""
        return F.silu(self.branch(x) + self.skip(x))


class GroupNorm2d(nn.Module):
    """Group normalization (Wu and He 2018) of pictures: (N, C, H, W) to the same, for any layout in memory.

    In plain operations, because the fused one has no forward-mode derivative where the channels are last in memory, as
    they are in data. Only two sums and one product touch the pixels, which keeps it near the fused one in speed.
    """

    def __init__(self, groups: int, channels: int) -> None:
        """Start as the plain normalization of `groups` groups of channels."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(groups, channels // groups))
        self.bias = nn.Parameter(torch.zeros(groups, channels // groups))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        moments = (x.mean(dim=(2, 3)), x.square().mean(dim=(2, 3)))  # (N, C) each
        mean, square = (m.view(-1, *self.weight.shape).mean(dim=2, keepdim=True) for m in moments)  # (N, groups, 1)
        variance = (square - mean.square()).clamp(min=0.0)
        scale = torch.rsqrt(variance + 1e-5) * self.weight  # (N, groups, C / groups)
        shift = self.bias - mean * scale
        return torch.addcmul(shift.view(*x.shape[:2], 1, 1), x, scale.view(*x.shape[:2], 1, 1))


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
