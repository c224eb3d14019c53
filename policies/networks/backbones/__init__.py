"""Backbones: pictures to maps of features. One module a backbone, found by its file name.

A backbone is a module with one function ``layers(plane, config, told) -> (list of layers, channels)``: the layers map
pixels in [-0.5, 0.5] of shape (N, C, H, W) to a map (N, channels, h, w). `plane` is (H, W, C), `told` the width of an
instruction that modulates it, or 0. Layers may be modulated where they are `Told`.

A network of `timm` is named "timm:NAME".
"""

# No `from __future__ import annotations`: the settings are read by OmegaConf, which needs real types.
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ....errors import LaminarError
from ....registry import Family
from ....settings import path

Plane = tuple[int, int, int]
"""(H, W, C) of the pixels that a backbone sees."""


@dataclass
class EncoderConfig:
    """How pictures become numbers."""

    kind: str = "small"  # backbone: tiny, small, resnet18, resnet34, vit_small, or timm:NAME (extra: vision)
    shared: bool = False  # one backbone for all cameras; each keeps its own readout
    film: bool = False  # the instruction modulates the backbone (FiLM); of resnets
    # Give the network a token of each observation, in place of one of all: `network=transformer` attends to them.
    tokens: bool = False
    weights: str | None = path()  # of a timm backbone: its file, safetensors; null starts from random ones
    frozen: bool = False  # of a timm backbone: it does not learn


class Told(nn.Module):
    """A layer that is modulated by an instruction: called with (x, instruction or None)."""


class Layers(nn.Sequential):
    """Layers one after the other; those that are `Told` hear the instruction as well."""

    def forward(self, input: Tensor, told: Tensor | None = None) -> Tensor:  # noqa: A002
        """Map (N, C, H, W), and an instruction (N, told) where there is one."""
        found = input
        for layer in self:
            found = layer(found, told) if isinstance(layer, Told) else layer(found)
        return found


BACKBONES: Family[Any] = Family("encoder", __name__, required=("layers",))
"""All backbones, by name."""


def layers_of(plane: Plane, config: EncoderConfig, told: int) -> tuple[list[nn.Module], int]:
    """Build the layers of the configured backbone, and tell how many channels their map has.

    Raises:
        LaminarError: an unknown name, or a setting that this backbone does not have.
    """
    name, _, of_timm = config.kind.partition(":")
    module = BACKBONES.module(name)
    if bool(of_timm) != (name == "timm"):
        raise LaminarError(f"policy.encoder={config.kind}: a network of timm is chosen by policy.encoder=timm:NAME")
    if name != "timm" and (config.weights is not None or config.frozen):
        setting = "frozen" if config.weights is None else "weights"
        raise LaminarError(f"policy.encoder.{setting} is for timm:NAME, and the encoder is {config.kind}; leave it out")
    if config.film and not getattr(module, "FILM", False):
        raise LaminarError(f"policy.encoder.film is for resnet18 and resnet34, and the encoder is {config.kind}")
    if config.film and not told:
        raise LaminarError("policy.encoder.film modulates by an instruction, and the data have none; leave it out")
    return module.layers(plane, config, told if config.film else 0)
