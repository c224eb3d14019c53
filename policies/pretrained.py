"""Weights of backbones that were trained elsewhere, read from a local file when a policy is built."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from . import storage
from .networks.backbones.timm import Backbone


def load_backbones(encoder: nn.Module, weights: str | None) -> None:
    """Give every timm backbone of an encoder the weights of a safetensors file; those of a head are left out.

    Raises:
        LaminarError: no such file, or tensors that are missing or have other shapes.
    """
    if weights is None:
        return
    stored = storage.read_tensors(Path(weights))
    for backbone in (module for module in encoder.modules() if isinstance(module, Backbone)):
        own = backbone.network.state_dict()
        kept = {name: value for name, value in stored.items() if name in own}
        storage.check_tensors(Path(weights), kept, own)
        backbone.network.load_state_dict(kept)
