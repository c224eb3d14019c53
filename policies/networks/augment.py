"""Pictures changed at random while a policy learns, on the device, inside the update; never when it acts.

    policy.augment.shift=4      DrQ (Kostrikov et al. 2021): up to 4 pixels, the border repeated
    policy.augment.crop=0.9     Diffusion Policy (Chi et al. 2023): a window of 0.9 of each side; when acting its middle
    policy.augment.jitter=0.1   brightness, contrast and saturation of color pictures, up to 10 % each

All randomness of a loss is one tensor of uniform numbers, a *look*, drawn like the noise: the same code is then
compiled, captured and stacked over seeds. All frames of one sample are changed alike, each camera in its own way.
"""

# No `from __future__ import annotations`: the settings are read by OmegaConf, which needs real types.
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.spec import Feature
from ...settings import number

_NUMBERS = 5  # down, across, brightness, contrast, saturation


@dataclass
class AugmentConfig:
    """Random changes of pictures while learning."""

    crop: float = number(1.0, above=0, most=1)  # share of each side that is seen, somewhere; the middle when acting
    shift: int = number(4, least=0)  # pixels by which pictures move, at most; 0 is off
    jitter: float = number(0.0, least=0, below=1)  # largest share by which brightness, contrast and saturation change


NO_CHANGE = AugmentConfig(shift=0)
"""What policies of earlier versions did."""


def cropped(side: int, crop: float) -> int:
    """Return the pixels of a side that are seen."""
    return max(int(side * crop), 1)


class Augmentation:
    """Changes the pictures of a batch as a look says; everything else is left alone."""

    def __init__(self, config: AugmentConfig, pictures: Mapping[str, Feature]) -> None:
        """Take the settings, and the features of the pictures by their keys."""
        self.config, self.pictures = config, dict(pictures)
        self.active = bool(pictures) and (config.crop < 1 or config.shift > 0 or config.jitter > 0)

    def draw(self, size: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """Return a look (size, pictures, 5), uniform in [0, 1)."""
        return torch.rand(size, len(self.pictures), _NUMBERS, device=device, generator=generator)

    def __call__(self, observation: Mapping[str, Tensor], look: Tensor) -> dict[str, Tensor]:
        """Return the windows {key: (B, h, ...)} with their pictures changed; their sizes stay."""
        changed = dict(observation)
        for (key, feature), numbers in zip(self.pictures.items(), look.unbind(1), strict=True):
            place, color = numbers[:, :2], 2.0 * numbers[:, 2:] - 1.0
            pixels = self._moved(changed[key], place)
            colored = self.config.jitter > 0 and feature.dtype == "uint8" and len(feature.shape) == 3
            changed[key] = jittered(pixels, self.config.jitter * color) if colored else pixels
        return changed

    def _moved(self, pixels: Tensor, place: Tensor) -> Tensor:
        """Move (B, h, H, W, ...) so that a random window is in the middle, the border repeated outside."""
        down = self._lines(pixels.shape[2], place[:, 0])
        across = self._lines(pixels.shape[3], place[:, 1])
        rows = torch.arange(len(pixels), device=pixels.device)[:, None, None]
        found = pixels.transpose(1, 2).transpose(2, 3)  # (B, H, W, h, ...)
        return found[rows, down[:, :, None], across[:, None, :]].transpose(2, 3).transpose(1, 2)

    def _lines(self, side: int, uniform: Tensor) -> Tensor:
        """Return (B, side) numbers of the lines that take the places of those of a side, for uniform numbers (B,)."""
        seen, shift = cropped(side, self.config.crop), self.config.shift
        first = torch.floor(uniform * (side - seen + 2 * shift + 1)).long() - shift
        moved = first - (side - seen) // 2
        return (moved[:, None] + torch.arange(side, device=uniform.device)).clamp(0, side - 1)


def jittered(pixels: Tensor, change: Tensor) -> Tensor:
    """Change bytes (B, h, H, W, C) by brightness, contrast and saturation (B, 3); floats in [0, 255]."""
    brightness, contrast, saturation = change[:, :, None, None, None, None].unbind(1)
    pixels = pixels.to(change.dtype)
    middle = pixels.mean(dim=(2, 3, 4), keepdim=True)
    pixels = (pixels - middle) * (1.0 + contrast) + middle + 255.0 * brightness
    gray = pixels.mean(dim=4, keepdim=True)
    return (gray + (pixels - gray) * (1.0 + saturation)).clamp(0.0, 255.0)


def centered(pixels: Tensor, plane: tuple[int, ...]) -> Tensor:
    """Cut the middle (H, W) out of pictures (B, h, H', W', ...); those of that size stay as they are."""
    top, left = ((pixels.shape[axis] - plane[axis - 2]) // 2 for axis in (2, 3))
    return pixels[:, :, top : top + plane[0], left : left + plane[1]]
