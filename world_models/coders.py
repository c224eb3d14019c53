"""Between observations and latents: encoders of what is seen, and heads that predict it again."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.spec import Feature
from .rssm import Dense, Latent
from .values import Values

SIDE = 64  # pixels that pictures are brought to, as in DiWA
_DEPTH = 32  # channels of the first layer of pictures


def is_picture(feature: Feature) -> bool:
    """Tell color pictures (H, W, C) of bytes from vectors."""
    return len(feature.shape) == 3 and feature.dtype == "uint8"


class Encoder(nn.Module):
    """{key: vectors (..., seen) or pictures (..., 64, 64, C)} -> (..., output_dim)."""

    def __init__(self, values: Mapping[str, Values], pictures: Mapping[str, Feature], hidden: int) -> None:
        """Build for vectors and pictures by their keys."""
        super().__init__()
        self.vectors, self.pictures = list(values), list(pictures)
        width = sum(one.seen for one in values.values())
        self.vector = nn.Sequential(Dense(width, hidden), Dense(hidden, hidden)) if width else None
        self.picture = nn.ModuleList(PictureEncoder(feature.shape[2]) for feature in pictures.values())
        self.output_dim = hidden * bool(width) + sum(PictureEncoder.output_dim for _ in pictures)

    def forward(self, seen: Mapping[str, Tensor]) -> Tensor:
        """Encode; leading axes stay."""
        parts: list[Tensor] = []
        if self.vector is not None:
            parts.append(self.vector(torch.cat([seen[key] for key in self.vectors], dim=-1)))
        parts += [encode(seen[key]) for key, encode in zip(self.pictures, self.picture, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class PictureEncoder(nn.Module):
    """Four convolutions of stride 2 (Hafner et al. 2021): (..., 64, 64, C) in [-0.5, 0.5] -> (..., output_dim)."""

    output_dim = 8 * _DEPTH * 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels, *(_DEPTH * 2**n for n in range(4))]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2), nn.SiLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, picture: Tensor) -> Tensor:
        """Encode; leading axes stay."""
        flat = picture.flatten(0, -4).movedim(-1, 1)
        return self.layers(flat).flatten(1).unflatten(0, picture.shape[:-3])


class Change(nn.Module):
    """What a step adds to the numbers that are observed, in deviations of such changes.

    A change in place of the numbers themselves: what lies still then stays where it is however long a dream is, and
    what moves by what is done has only that to be learned. A network reads the latent, and a linear map gives it action
    and speed undistorted; of what was shown that sees nothing, as what feeds itself would grow without end.
    """

    def __init__(self, features: int, numbers: int, hidden: int, action_dim: int) -> None:
        super().__init__()
        last = nn.Linear(hidden, numbers)
        self.linear = nn.Linear(action_dim + numbers, numbers, bias=False)
        for zero in (last.weight, last.bias, self.linear.weight):  # at first all stays
            nn.init.zeros_(zero)
        self.layers = nn.Sequential(Dense(features + action_dim, hidden), Dense(hidden, hidden), last)

    def forward(self, memory: Tensor, code: Tensor, before: Latent, action: Tensor) -> Tensor:
        """Predict (B, N) of the memory (B, deter) after an action (B, A), the code then, and the latent before it."""
        whole = torch.cat((memory, code, before.shown, before.speed, action), dim=1)
        return self.layers(whole) + self.linear(torch.cat((action, before.speed), dim=1))


class PictureDecoder(nn.Module):
    """Four transposed convolutions (Hafner et al. 2021): (..., F) -> (..., 64, 64, C)."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.start = nn.Linear(features, 32 * _DEPTH)
        widths, kernels = [32 * _DEPTH, 4 * _DEPTH, 2 * _DEPTH, _DEPTH, channels], [5, 5, 6, 6]
        layers: list[nn.Module] = []
        for (inputs, outputs), kernel in zip(pairwise(widths), kernels, strict=True):
            layers += [nn.ConvTranspose2d(inputs, outputs, kernel, stride=2), nn.SiLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        """Predict; leading axes stay."""
        start = self.start(features.flatten(0, -2))[:, :, None, None]
        return self.layers(start).movedim(1, -1).unflatten(0, features.shape[:-1])


class Number(nn.Module):
    """A head of one number: features (..., F) -> (...); a reward, or the logit of going on."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Dense(features, hidden), nn.Linear(hidden, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Predict."""
        return self.layers(features).squeeze(-1)


def to_small(pixels: Tensor) -> Tensor:
    """Map bytes (..., H, W, C) to (..., 64, 64, C) in [-0.5, 0.5], each pixel the mean of those that it covers."""
    scaled = pixels.to(torch.float32) / 255 - 0.5
    if pixels.shape[-3:-1] == (SIDE, SIDE):
        return scaled
    flat = scaled.flatten(0, -4).movedim(-1, 1)
    return F.interpolate(flat, (SIDE, SIDE), mode="area").movedim(1, -1).unflatten(0, pixels.shape[:-3])


def to_pixels(small: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Map predicted pictures (..., 64, 64, C) to bytes (..., *shape)."""
    flat = small.flatten(0, -4).movedim(-1, 1)
    if shape[:2] != (SIDE, SIDE):
        flat = F.interpolate(flat, shape[:2], mode="bilinear", align_corners=False)
    pixels = ((flat + 0.5) * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.movedim(1, -1).reshape(*small.shape[:-3], *shape)


def squared_error(prediction: Tensor, target: Tensor, axes: int) -> Tensor:
    """Half the squared error, summed over the last axes: - log N(target; prediction, 1) without its constant."""
    return 0.5 * (prediction - target).square().sum(dim=tuple(range(-axes, 0)))
