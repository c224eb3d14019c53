"""Layers that networks share, and their forward-mode derivatives."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activations import Mish
from .embeddings import Sinusoids


class Residual(nn.Module):
    """x + branch(x) for the layers given, in sequence."""

    def __init__(self, *layers: nn.Module) -> None:
        """Wrap layers whose output is as wide as their input."""
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width) to (B, width)."""
        return x + self.branch(x)


def normalize(x: Tensor) -> Tensor:
    """Return x (..., n) with zero mean and unit variance over the last dimension.

    In elementary operations, because the fused ones do not suit mean flow (PyTorch 2.13): `F.layer_norm` has a right
    forward-mode derivative whose own derivatives, of either mode, are silently wrong, and `F.group_norm` cannot be
    compiled in forward mode. An exported sampler is never differentiated, and its runtime has a fused kernel.
    """
    if torch.compiler.is_exporting():
        return F.layer_norm(x, x.shape[-1:], eps=1e-5)
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered * torch.rsqrt(variance + 1e-5)


class LayerNorm(nn.Module):
    """Layer normalization (Ba et al. 2016) with a learned scale and shift: (..., width) -> (..., width)."""

    def __init__(self, width: int) -> None:
        """Start as the plain normalization."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to (..., width)."""
        return torch.addcmul(self.bias, normalize(x), self.weight)


class GroupNorm(nn.Module):
    """Group normalization (Wu and He 2018) with a learned scale and shift: (B, channels, T) -> (B, channels, T)."""

    def __init__(self, groups: int, channels: int) -> None:
        """Start as the plain normalization of `groups` groups of channels over all T."""
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, T) to (B, channels, T)."""
        normal = normalize(x.reshape(x.shape[0], self.groups, -1)).view(x.shape)
        return torch.addcmul(self.bias, normal, self.weight)


def push_forward(layer: nn.Module, value: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
    """Return layer(value) and the Jacobian of the layer at `value` times `tangent`.

    Several times cheaper than `torch.func.jvp` on a CPU: that carries a symbolic zero tangent for every
    weight, and for small matrices the bookkeeping costs more than the products.

    Args:
        layer: a module from one tensor to one tensor; kinds not listed below go through `torch.func.jvp`.
        value: input of the layer.
        tangent: direction, same shape as `value`.
    """
    if isinstance(layer, nn.Sequential):
        for part in layer:
            value, tangent = push_forward(part, value, tangent)
        return value, tangent
    if isinstance(layer, Residual):
        change, change_tangent = push_forward(layer.branch, value, tangent)
        return value + change, tangent + change_tangent
    if isinstance(layer, nn.Linear):
        return layer(value), F.linear(tangent, layer.weight)
    if isinstance(layer, nn.SiLU):
        # aten::silu_backward would save two small operations, but has no derivative of its own.
        gate = value.sigmoid()
        output = value * gate
        return output, tangent * torch.addcmul(gate, output, 1.0 - gate)
    if isinstance(layer, nn.GELU):
        return layer(value), torch.ops.aten.gelu_backward(tangent, value, approximate=layer.approximate)
    if isinstance(layer, (Mish, Sinusoids)):
        return layer(value), layer.derivative(value, tangent)
    result = torch.func.jvp(layer, (value,), (tangent,))
    return result[0], result[1]
