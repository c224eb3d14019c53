"""Named parameters in one flat buffer.

Adam, the gradient's norm, the average of the weights, the sum over processes and a checkpoint are then one operation
each instead of one a tensor. A module keeps its names: its parameters become views.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Layout:
    """Where named parameters lie in one flat buffer.

    Attributes:
        names: of the parameters, in their order.
        size: P, the number of values.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        """Lay the parameters out one after the other."""
        self.names = list(parameters)
        self._shapes = [parameter.shape for parameter in parameters.values()]
        self._counts = [math.prod(shape) for shape in self._shapes]
        self.size = sum(self._counts)

    def flatten(self, values: Sequence[Tensor]) -> Tensor:
        """Copy values in the parameters' order, which need no gradient, into a new buffer (P,)."""
        return torch.cat([value.reshape(-1) for value in values])

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Name -> view into (P,); differentiable, and right under `torch.func.vmap`."""
        pieces = flat.split(self._counts)
        return {name: piece.view(shape) for name, shape, piece in zip(self.names, self._shapes, pieces, strict=True)}
