"""Observation encoders: a dictionary of normalized observations to one vector, or some tokens, per time step.

Mean flow's forward-mode derivative does not come through here, as the condition is fixed along it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...data.spec import Feature, Spec
from ...errors import LaminarError
from ...settings import check
from . import vision
from .augment import NO_CHANGE, Augmentation, AugmentConfig
from .backbones import EncoderConfig
from .picking import Pick
from .transforms import MADE, Transforms

TOKEN = 128  # width of a token, of an encoder that gives one for each observation


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

    WIDTH = 64

    def __init__(self, feature: Feature) -> None:
        """Project values of the feature's shape."""
        super().__init__()
        self.output_dim = self.WIDTH
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


def pictures_of(spec: Spec) -> dict[str, Feature]:
    """Return the features of all pictures among the observations of a Spec, by their keys."""
    return {key: one for key, one in spec.observation.items() if key != "instruction" and _is_picture(one)}


Part = Vector | Instruction | Pick | vision.Picture
"""What encodes one observation."""


def encoder_for(key: str, feature: Feature, asked: int = 0, compared: bool = False, **picture: Any) -> Part:
    """Choose the module that encodes one observation key: the key "instruction", objects, pictures, all else as it is.

    Args:
        key: of the observation.
        feature: its shape and type.
        asked: width of what tells what is wanted, instruction and goal; 0 where nothing does.
        compared: whether rows are picked by what the others are as well.
        picture: what `vision.Picture` takes besides.

    Raises:
        LaminarError: for a picture of a shape that cannot be encoded, naming the key.
    """
    if key == "instruction":
        return Instruction(feature)
    if key.startswith(MADE) and len(feature.shape) == 2:
        return Pick(feature, asked, compared)
    return vision.Picture(key, feature, **picture) if _is_picture(feature) else Vector(feature)


class Encoder(nn.Module):
    """Encodes every key of a Spec: {key: (B, h, ...)} -> (B, h, D), the keys side by side in the Spec's order.

    With `tokens` each key becomes a token of its own, of one width, and the steps' tokens lie one after the other:
    (B, h k, D) for k keys. Whoever takes a condition does not ask which it is: it has `rows` for one step.

    Attributes:
        output_dim: D, the width of a row.
        rows: of one time step: 1, or k.
        transforms: what is made of raw observations beside.
        augmentation: changes pictures while a policy learns.
    """

    def __init__(
        self,
        spec: Spec,
        config: EncoderConfig | None = None,
        augment: AugmentConfig = NO_CHANGE,
        transforms: str | Sequence[str] | None = None,
        bound: float | None = None,
    ) -> None:
        """Build one encoder a key.

        Args:
            spec: of the observations.
            config: how pictures become numbers.
            augment: how they are changed while a policy learns.
            transforms: name or names of transforms, see there.
            bound: of what these make, see `Normalizer`.

        Raises:
            LaminarError: for a Spec without observations, a key that no encoder takes, or a transform that finds
                nothing to be made of.
        """
        super().__init__()
        if not spec.observation:
            raise LaminarError("the spec has no observation keys to encode; check the data file")
        config = config or EncoderConfig()
        check(config, "policy.encoder")
        check(augment, "policy.augment")
        self.transforms = Transforms(transforms, spec, bound)
        shown = self.transforms.shown
        self.keys = list(shown)
        self._asking = list(self.transforms.asking)
        asked = Instruction.WIDTH * ("instruction" in self.keys) + sum(self.transforms.asking.values())
        told = asked if config.film else 0
        parts: list[Part] = []
        first: vision.Picture | None = None
        for key, feature in shown.items():
            like = first if config.shared else None
            picture: Any = {"config": config, "crop": augment.crop, "told": told, "like": like}
            parts.append(encoder_for(key, feature, asked, key in self.transforms.compared, **picture))
            first = first or (parts[-1] if isinstance(parts[-1], vision.Picture) else None)
        # A list, not a ModuleDict: keys may contain dots, which parameter names may not.
        self.parts = nn.ModuleList(parts)
        self.augmentation = Augmentation(augment, pictures_of(spec))
        self._film = bool(told)
        widths = [part.output_dim for part in parts]
        self.projections = nn.ModuleList(nn.Linear(width, TOKEN) for width in widths) if config.tokens else None
        self.output_dim, self.rows = (TOKEN, len(parts)) if config.tokens else (sum(widths), 1)

    def forward(self, normalized: Mapping[str, Tensor], raw: Mapping[str, Tensor]) -> Tensor:
        """Map the same windows {key: (B, h, ...)}, normalized and raw, to (B, h rows, D)."""
        observation = self.transforms(raw, normalized)
        parts = dict(zip(self.keys, self.parts, strict=True))
        instruction = parts["instruction"](observation["instruction"]) if "instruction" in parts else None
        wanted = [*([] if instruction is None else [instruction]), *(observation[key] for key in self._asking)]
        asked = torch.cat(wanted, -1) if len(wanted) > 1 else wanted[0] if wanted else None
        encoded: list[Tensor] = []
        for key, part in parts.items():
            seen = observation[key]
            if isinstance(part, Instruction):
                assert instruction is not None
                encoded.append(instruction)
            elif isinstance(part, vision.Picture):
                encoded.append(part(seen, asked if self._film else None))
            else:
                encoded.append(part(seen, asked) if isinstance(part, Pick) else part(seen))
        if self.projections is None:
            return encoded[0] if len(encoded) == 1 else torch.cat(encoded, dim=-1)
        tokens = [project(one) for project, one in zip(self.projections, encoded, strict=True)]
        return torch.stack(tokens, dim=2).flatten(1, 2)

    if TYPE_CHECKING:

        def __call__(self, normalized: Mapping[str, Tensor], raw: Mapping[str, Tensor]) -> Tensor:
            """Evaluate `forward`, typed."""
            ...
