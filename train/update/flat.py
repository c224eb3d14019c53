"""All parameters of a module in one buffer, all gradients in another.

Adam, the gradient norm, the average of the weights, the sum over processes and a checkpoint are then one operation
each instead of one a tensor. The module keeps its names: its parameters become views.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

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


class Layout:
    """Where named parameters lie in one flat buffer, for updates that are functions of the buffer.

    Attributes:
        size: P, the number of values.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        """Lay the parameters out one after the other."""
        self._shapes = {name: parameter.shape for name, parameter in parameters.items()}
        self._counts = [math.prod(shape) for shape in self._shapes.values()]
        self.size = sum(self._counts)

    def flatten(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Copy the parameters into a new buffer (P,)."""
        return torch.cat([parameters[name].detach().reshape(-1) for name in self._shapes])

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Name -> view into (P,); differentiable, and right under `torch.func.vmap`."""
        pieces = flat.split(self._counts)
        return {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}


def adam(
    values: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], step: Tensor, lr: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Adam (Kingma and Ba 2015, algorithm 1, with beta = 0.9 and 0.999, epsilon = 1e-8) as a function.

    Args:
        values: (P,) parameters.
        gradient: (P,).
        moments: first and second, (P,) each.
        step: () number of this update, from 1.
        lr: () learning rate.

    Returns:
        The new parameters and moments.
    """
    first = torch.lerp(gradient, moments[0], 0.9)
    second = torch.lerp(gradient.square(), moments[1], 0.999)
    correction = (1 - 0.999**step).sqrt()
    size = lr * correction / (1 - 0.9**step)
    # In place on one fresh buffer: temporaries of this size cost an eager update more than the arithmetic.
    change = second.sqrt().add_(1e-8 * correction).reciprocal_().mul_(first).mul_(size)
    return values - change, (first, second)


def clip_norm(gradient: Tensor, max_norm: float | None) -> tuple[Tensor, Tensor]:
    """Scale (P,) down to `max_norm`, unless it is None; return it and its norm before that."""
    norm = gradient.norm()
    return (gradient if max_norm is None else gradient * (max_norm / norm.clamp(min=max_norm))), norm
