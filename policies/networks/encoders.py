"""Observation encoders: a dictionary of normalized observations to one vector per time step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...data.spec import Feature, Spec
from ...errors import LaminarError


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


def encoder_for(key: str, feature: Feature) -> Vector:
    """Choose the module that encodes one observation key; an image encoder gets its branch here.

    Raises:
        LaminarError: for an image, naming the key.
    """
    image = len(feature.shape) >= 3 or (len(feature.shape) == 2 and feature.dtype == "uint8")
    if image:
        raise LaminarError(
            f"observation '{key}' with shape {feature.shape} is an image, and no image encoder is registered "
            "for it; leave the key out of the data or add an encoder in policies/networks/encoders.py"
        )
    return Vector(feature)


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
