"""A small vision transformer (Dosovitskiy et al. 2021): patches of 8 pixels, six layers of width 384, from scratch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ....errors import LaminarError
from . import EncoderConfig, Plane

_PATCH, _WIDTH, _DEPTH, _HEADS = 8, 384, 6, 6


class Patches(nn.Module):
    """(N, C, H, W) -> tokens (N, h, w, width) with learned positions; what does not fill a patch is left out."""

    def __init__(self, plane: Plane) -> None:
        super().__init__()
        self.project = nn.Conv2d(plane[2], _WIDTH, _PATCH, stride=_PATCH)
        self.position = nn.Parameter(0.02 * torch.randn(plane[0] // _PATCH, plane[1] // _PATCH, _WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Cut into patches."""
        return self.project(x).permute(0, 2, 3, 1) + self.position


class Block(nn.Module):
    """Attention and perceptron, each normalized first: (N, h, w, width) to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp_norm = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.inputs, self.output = nn.Linear(_WIDTH, 3 * _WIDTH), nn.Linear(_WIDTH, _WIDTH)
        self.mlp = nn.Sequential(nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Linear(4 * _WIDTH, _WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Let all patches attend to each other."""
        down = x.shape[1]
        parts = rearrange(self.inputs(self.norm(x)), "n y x (three k d) -> three n k (y x) d", three=3, k=_HEADS)
        mixed = F.scaled_dot_product_attention(*parts.unbind())
        x = x + self.output(rearrange(mixed, "n k (y x) d -> n y x (k d)", y=down))
        return x + self.mlp(self.mlp_norm(x))


class ToMap(nn.Module):
    """Normalized tokens (N, h, w, width) as a map (N, width, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Put the channels first."""
        return self.norm(x).permute(0, 3, 1, 2)


def layers(plane: Plane, config: EncoderConfig, told: int) -> tuple[list[nn.Module], int]:
    """Build for pixels (H, W, C).

    Raises:
        LaminarError: fewer than two patches a side.
    """
    if min(plane[:2]) < 2 * _PATCH:
        raise LaminarError(f"policy.encoder=vit_small needs pictures of {2 * _PATCH} pixels a side, not {plane[:2]}")
    return [Patches(plane), *[Block() for _ in range(_DEPTH)], ToMap()], _WIDTH
