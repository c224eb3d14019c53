"""Backbones of the package timm, from a file of weights or from random ones; nothing is ever downloaded.

    laminar train policy.encoder=timm:resnet18 policy.encoder.weights=resnet18.safetensors policy.encoder.frozen=true …

Batch normalization keeps the statistics of the file: those of a batch would differ between training and acting. The
weights of a frozen backbone are buffers, so that no optimizer sees them, and are saved with the policy all the same.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import LaminarError
from . import EncoderConfig, Plane


class Backbone(nn.Module):
    """A timm network without its head: pixels in [-0.5, 0.5] (N, C, H, W) -> (N, channels, h, w)."""

    def __init__(self, name: str, plane: Plane, frozen: bool) -> None:
        """Build with random weights.

        Raises:
            LaminarError: timm is not installed, or has no network of this name.
        """
        super().__init__()
        self.network = _create(name, plane)
        self.skipped = int(getattr(self.network, "num_prefix_tokens", 0))
        cfg: dict[str, Any] = getattr(self.network, "default_cfg", {})
        for key, neutral in (("mean", 0.5), ("std", 0.5)):
            told = cfg.get(key) or (neutral,)
            value = torch.tensor(told if len(told) == plane[2] else [sum(told) / len(told)] * plane[2])
            self.register_buffer(key, value.view(1, -1, 1, 1).to(torch.float32), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        if frozen:
            freeze(self.network)
        self.train(False)

    def train(self, mode: bool = True) -> Backbone:
        """Stay as in evaluation."""
        del mode
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of features."""
        network: Any = self.network
        found = network.forward_features((x + 0.5 - self.mean) / self.std)
        if found.ndim == 4:
            return found
        tokens = found[:, self.skipped :]  # (N, h w, channels) of a transformer, past its class token
        down = self.down(tokens.shape[1], x.shape[2] / x.shape[3])
        return tokens.unflatten(1, (down, -1)).permute(0, 3, 1, 2)

    @staticmethod
    def down(count: int, aspect: float) -> int:
        """Return the number of rows of so many patches."""
        rows = round((count * aspect) ** 0.5)
        if count % rows:
            raise LaminarError(f"{count} tokens of a timm backbone are no grid of patches; choose another one")
        return rows


def layers(plane: Plane, config: EncoderConfig, told: int) -> tuple[list[nn.Module], int]:
    """Build for pixels (H, W, C); weights are read by `policies/pretrained.py`, or with a saved policy."""
    backbone = Backbone(config.kind.partition(":")[2], plane, config.frozen)
    network: Any = backbone.network
    return [backbone], int(network.num_features)


def freeze(network: nn.Module) -> None:
    """Turn all parameters into buffers of the same names."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())


def _create(name: str, plane: Plane) -> nn.Module:
    try:
        timm: Any = import_module("timm")
    except ImportError as error:
        raise LaminarError(f"policy.encoder=timm:{name} needs timm; pip install 'laminar[vision]'") from error
    sized = {"img_size": plane[:2]} if "vit" in name or "deit" in name else {}
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, in_chans=plane[2], **sized)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LaminarError(f"policy.encoder=timm:{name} cannot be built: {reason}") from error
