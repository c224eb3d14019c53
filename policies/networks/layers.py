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
        return layer(value), torch.ops.aten.silu_backward(tangent, value)
    if isinstance(layer, nn.GELU):
        return layer(value), torch.ops.aten.gelu_backward(tangent, value, approximate=layer.approximate)
    if isinstance(layer, (Mish, Sinusoids)):
        return layer(value), layer.derivative(value, tangent)
    result = torch.func.jvp(layer, (value,), (tangent,))
    return result[0], result[1]
