"""Observation encoders: a dictionary of normalized observations to one vector per time step.

Mean flow's forward-mode derivative does not come through here, as the condition is fixed along it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...data.spec import Feature, Spec
from ...errors import LaminarError
from . import vision


class Vector(nn.Module):
    """Low-dimensional feature, flattened: (B, h, *shape) -> (B, h, output_dim)."""

    def __init__(self, feature: Feature) -> None:
        """Flatten values of the feature's shape."""
        super().__init__()
        self.output_dim = feature.width

    def forward(self, value: Tensor) -> Tensor:
        """Map (B, h, *shape) to (B, h, output_dim)."""
        # Already so in most cases; a view would be one more operation of every call.
        return value if value.ndim == 3 else value.reshape(*value.shape[:2], self.output_dim)


class Instruction(nn.Module):
    """Instruction vector, of a sentence or one number a task, projected: (B, h, *shape) -> (B, h, output_dim).

    The vector is brought to unit mean square first. Encoders of sentences differ in the length of their vectors, which
    carries no meaning; and a vector of length one would be faint beside normalized states, 384 numbers of 0.05 each.
    """

    def __init__(self, feature: Feature) -> None:
        """Project values of the feature's shape."""
        super().__init__()
        self.output_dim = 64
        self.projection = nn.Linear(feature.width, self.output_dim)

    def forward(self, value: Tensor) -> Tensor:
        """Map (B, h, *shape) to (B, h, output_dim)."""
        flat = value.flatten(2)
        return self.projection(flat * torch.rsqrt(flat.square().mean(dim=2, keepdim=True) + 1e-8))


def takes_raw(key: str, feature: Feature) -> bool:
    """Tell whether the encoder of an observation scales it by itself, so that no normalizer may touch it.

    In play data of few tasks most numbers of an instruction hardly vary, and dividing by their deviation would blow
    them up; pixels share one scale, and computing statistics would read every picture of the data.
    """
    return key == "instruction" or _is_picture(feature)


def _is_picture(feature: Feature) -> bool:
    """Tell pictures from small matrices such as points and rotations: bytes, three axes, or two that are long."""
    axes = len(feature.shape)
    return axes >= 3 or (axes == 2 and (feature.dtype == "uint8" or min(feature.shape) >= vision.SMALLEST))


def encoder_for(key: str, feature: Feature) -> Vector | Instruction | vision.Picture:
    """Choose the module that encodes one observation key: the key "instruction", pictures, all else as it is.

    Raises:
        LaminarError: for a picture of a shape that cannot be encoded, naming the key.
    """
    if key == "instruction":
        return Instruction(feature)
    return vision.Picture(key, feature) if _is_picture(feature) else Vector(feature)


class Encoder(nn.Module):
    """Encodes every key of a Spec and concatenates them in the Spec's order: {key: (B, h, ...)} -> (B, h, D).

    Attributes:
        output_dim: D, the width for one time step.
    """

    def __init__(self, spec: Spec) -> None:
        """Build one encoder a key.

        Raises:
            LaminarError: for a Spec without observations, or a key that no encoder takes.
        """
        super().__init__()
        if not spec.observation:
            raise LaminarError("the spec has no observation keys to encode; check the data file")
        self.keys = list(spec.observation)
        # A list, not a ModuleDict: keys may contain dots, which parameter names may not.
        parts = [encoder_for(key, feature) for key, feature in spec.observation.items()]
        self.parts = nn.ModuleList(parts)
        self.output_dim = sum(part.output_dim for part in parts)

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Map {key: (B, h, ...)} to (B, h, D)."""
        encoded = [part(observation[key]) for key, part in zip(self.keys, self.parts, strict=True)]
        return encoded[0] if len(encoded) == 1 else torch.cat(encoded, dim=-1)

    if TYPE_CHECKING:

        def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
            """Evaluate `forward`, typed."""
            ...
