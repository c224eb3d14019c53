"""All parameters of a module in one buffer, all gradients in another.

Adam, the gradient norm, the average of the weights, the sum over processes and a checkpoint are then one operation
each instead of one a tensor. The module keeps its names: its parameters become views.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatParameters:
    """Moves a module's parameters and gradients into two flat buffers.

    Attributes:
        values: (P,) leaf whose storage the module's parameters share; give it to an optimizer.
        gradient: (P,) gradients; `backward` adds into it through the parameters' views.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parameters = parameters = list(module.parameters())
        self._gradients: list[Tensor] = []  # views into `gradient`
        self.values = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
        self.gradient = torch.zeros_like(self.values)
        self.values.grad = self.gradient
        offset = 0
        for parameter in parameters:
            end = offset + parameter.numel()
            parameter.data = self.values.data[offset:end].view_as(parameter)
            self._gradients.append(self.gradient[offset:end].view_as(parameter))
            parameter.grad = self._gradients[-1]
            offset = end

    def backward(self, loss: Tensor) -> None:
        """Set `gradient` to that of `loss`: one copy for all tensors, where `loss.backward()` adds into each."""
        gradients = torch.autograd.grad(loss, self._parameters)
        torch._foreach_copy_(self._gradients, gradients)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  # no public name

    @torch.no_grad()
    def clip_gradient(self, max_norm: float) -> Tensor:
        """Scale the gradient down to `max_norm` and return its norm before that; no host sync."""
        norm = self.gradient.norm()
        self.gradient.mul_(max_norm / norm.clamp(min=max_norm))
        return norm
