"""Pictures to vectors: a backbone makes a map of features, a spatial softmax tells what is where in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...data.spec import Feature
from ...errors import LaminarError
from .augment import centered, cropped
from .backbones import EncoderConfig, Layers, layers_of
from .pixels import SpatialSoftmax

WIDTH = 64  # numbers that stand for one picture
SMALLEST = 32  # pixels a side
_KEYPOINTS = 32


class Picture(nn.Module):
    """Encodes color pictures (H, W, C) or single-channel ones (H, W): (B, h, *shape) -> (B, h, output_dim).

    uint8 values are scaled to [-0.5, 0.5]; floats, such as depth in meters, are taken as they are. Of larger pictures
    than `plane` the middle is seen. As usual for cloning from pictures (Chi et al. 2023) a spatial softmax follows the
    backbone instead of pooling. Nothing is random: who trains changes the pictures before, see `augment`.

    Attributes:
        plane: (H, W, C) of what is seen.
    """

    def __init__(
        self,
        key: str,
        feature: Feature,
        config: EncoderConfig | None = None,
        crop: float = 1.0,
        told: int = 0,
        like: Picture | None = None,
    ) -> None:
        """Build for pictures of the feature's shape.

        Args:
            key: of the observation.
            feature: its shape and type.
            config: which backbone.
            crop: share of each side that is seen.
            told: width of an instruction that modulates the backbone; 0 without.
            like: another camera's, whose backbone this one shares.

        Raises:
            LaminarError: the shape is not (H, W) or (H, W, C) with at least 32 x 32 pixels, or not that of the picture
                whose backbone it is to share; names the key.
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
        self.plane = (cropped(shape[0], crop), cropped(shape[1], crop), shape[2] if len(shape) == 3 else 1)
        config = config or EncoderConfig()
        if like is None:
            backbone, channels = layers_of(self.plane, config, told)
            self.layers = Layers(*backbone, nn.Conv2d(channels, _KEYPOINTS, 1), SpatialSoftmax())
        else:
            self.layers = like.shared_with(key, self.plane, config)
        self.head = nn.Linear(3 * _KEYPOINTS, WIDTH)

    def shared_with(self, key: str, plane: tuple[int, int, int], config: EncoderConfig) -> Layers:
        """Return the layers for another camera: the same backbone, and a readout of its own.

        Raises:
            LaminarError: its pictures do not fit the backbone.
        """
        if plane[2] != self.plane[2] or (plane != self.plane and not config.kind.startswith(("small", "resnet"))):
            raise LaminarError(
                f"policy.encoder.shared: observation '{key}' of {plane} pixels and channels does not fit the backbone "
                f"of {self.plane}; leave policy.encoder.shared out"
            )
        *backbone, readout, softmax = self.layers
        assert isinstance(readout, nn.Conv2d)
        own = nn.Conv2d(readout.in_channels, _KEYPOINTS, 1)
        return Layers(*backbone, own, softmax)

    def forward(self, value: Tensor, told: Tensor | None = None) -> Tensor:
        """Map (B, h, *shape), and an instruction (B, h, told) if it was built for one, to (B, h, output_dim)."""
        value = centered(value, self.plane)
        pixels = value.reshape(-1, *self.plane).permute(0, 3, 1, 2)
        # Bytes become floats with their channels last in memory, where convolutions and norms are fastest on a CPU.
        # Floats are laid out plainly, for which alone the norm has a derivative in forward mode.
        plain = torch.contiguous_format
        scaled = pixels.to(self.head.weight.dtype) / 255 - 0.5 if self.bytes else pixels.clone(memory_format=plain)
        encoded = self.layers(scaled, None if told is None else told.flatten(0, 1))
        return self.head(encoded).view(*value.shape[:2], WIDTH)
