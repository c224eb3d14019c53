"""ResNet-34: ResNet-18 with more blocks."""

from __future__ import annotations

from torch import nn

from . import EncoderConfig, Plane
from .resnet18 import residual

FILM = True


def layers(plane: Plane, config: EncoderConfig, told: int) -> tuple[list[nn.Module], int]:
    """Build for pixels (H, W, C): a map of a 32nd of each side."""
    return residual(plane, told, (3, 4, 6, 3))
