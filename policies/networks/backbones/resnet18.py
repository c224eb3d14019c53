"""ResNet-18 (He et al. 2016) as Diffusion Policy has it (Chi et al. 2023), from random weights.

Group normalization of 16 channels a group stands in for batch normalization, a spatial softmax for pooling.

With FiLM (Perez et al. 2018) the instruction scales and shifts each block before its sum; blocks start unmodulated.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..pixels import GroupNorm2d
from . import EncoderConfig, Plane, Told

FILM = True
_WIDTHS = (64, 128, 256, 512)


class Block(Told):
    """Two convolutions with a skip: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int, told: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = _norm(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = _norm(outputs)
        same = inputs == outputs and stride == 1
        skip = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        self.skip = nn.Identity() if same else nn.Sequential(skip, _norm(outputs))
        self.film = nn.Linear(told, 2 * outputs) if told else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """Map x under an instruction (N, told), if it was built for one."""
        branch = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        if self.film is not None and told is not None:
            scale, shift = self.film(told)[:, :, None, None].chunk(2, dim=1)
            branch = branch * (1.0 + scale) + shift
        return F.relu(branch + self.skip(x))


def residual(plane: Plane, told: int, depths: tuple[int, ...]) -> tuple[list[nn.Module], int]:
    """Build the stem and four stages of so many blocks."""
    stem = nn.Conv2d(plane[2], _WIDTHS[0], 7, stride=2, padding=3, bias=False)
    found: list[nn.Module] = [stem, _norm(_WIDTHS[0]), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
    inputs = _WIDTHS[0]
    for stage, (width, depth) in enumerate(zip(_WIDTHS, depths, strict=True)):
        for index in range(depth):
            found.append(Block(inputs, width, 2 if stage and index == 0 else 1, told))
            inputs = width
    for layer in nn.ModuleList(found).modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return found, inputs


def layers(plane: Plane, config: EncoderConfig, told: int) -> tuple[list[nn.Module], int]:
    """Build for pixels (H, W, C): a map of a 32nd of each side."""
    return residual(plane, told, (2, 2, 2, 2))


def _norm(channels: int) -> GroupNorm2d:
    return GroupNorm2d(channels // 16, channels)
