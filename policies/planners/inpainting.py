"""Networks that are told a part of what they denoise: known numbers of a plan are seen clean, and predicted exactly.

What is known comes with the condition, which processes pass on row by row and never look at. In each call of a loss or
of a path the known numbers stand in the noisy plan as they are (Janner et al. 2022, their states by inpainting), and
what is predicted for them is what leads there. So the data that a solver, a guide or a critic sees have them too, and
every process can do with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..networks import Network

Output = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x (B, T, W), times (B, n), data (B, T, W)) -> what a network says where it sees the data: `Process.output`."""


class Inpainted(Network):
    """A network for plans (B, T, W), some of whose numbers are known; these follow the D numbers of a condition."""

    def __init__(self, inner: Network, places: list[int], shape: tuple[int, int], seen: int, output: Output) -> None:
        """Stand in front of a network.

        Args:
            inner: built for plans of this shape, and for conditions (B, 1, D).
            places: K, where the known numbers stand in a flat plan.
            shape: (T, W).
            seen: D.
            output: of the process.
        """
        super().__init__()
        self.inner, self.shape, self.seen, self.places = inner, shape, seen, places
        self._output = output
        source, known = torch.zeros(shape[0] * shape[1], dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
        for index, place in enumerate(places):
            source[place], known.view(-1)[place] = index, True
        self.source: Tensor  # (T W,) which known number stands there; not saved: it follows from the configuration
        self.known: Tensor  # (T, W)
        self.register_buffer("source", source, persistent=False)
        self.register_buffer("known", known, persistent=False)

    def keep(self, x: Tensor, cond: Tensor) -> Tensor:
        """Return plans (B, T, W) with the known numbers of a condition (B, 1, D + K), to the bit."""
        return torch.where(self.known, self._given(cond), x)

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Map x (B, T, W), times (B, n) and cond (B, 1, D + K) to (B, T, W)."""
        given = self._given(cond)
        told = torch.where(self.known, given, x)
        return self._with_known(self.inner(told, times, cond[..., : self.seen]), x, times, given)

    def jvp(
        self, x: Tensor, times: Tensor, cond: Tensor, x_tangent: Tensor, times_tangent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate with the derivative along (x_tangent, times_tangent), along which known numbers stand still."""
        given = self._given(cond)
        told, tangent = torch.where(self.known, given, x), torch.where(self.known, 0.0, x_tangent)
        value, slope = self.inner.jvp(told, times, cond[..., : self.seen], tangent, times_tangent)
        return self._with_known(value, x, times, given), torch.where(self.known, 0.0, slope)

    def conditions(self, times: Tensor, cond: Tensor) -> list[Any]:
        """Return the network's own, each with what is known and its times."""
        given = self._given(cond)
        own = self.inner.conditions(times, cond[..., : self.seen])
        return [(one, given, row.expand(len(cond), -1)) for one, row in zip(own, times, strict=True)]

    def body(self, x: Tensor, condition: Any) -> Tensor:
        """Map x (B, T, W) under one of `conditions` to (B, T, W)."""
        own, given, times = condition
        return self._with_known(self.inner.body(torch.where(self.known, given, x), own), x, times, given)

    def _given(self, cond: Tensor) -> Tensor:
        """(B, T, W) what is known, in its places."""
        return cond[:, 0, self.seen :].index_select(1, self.source).view(-1, *self.shape)

    def _with_known(self, output: Tensor, x: Tensor, times: Tensor, given: Tensor) -> Tensor:
        return torch.where(self.known, self._output(x, times, given), output)


class ClassifierFree:
    """A network that exaggerates what a condition changes: w (with it) + (1 - w) (without it) (Ho and Salimans 2022).

    Both in one call of twice the rows. It stands in for a network in one pass through a sampling loop.
    """

    def __init__(self, network: Any, cond: Tensor, without: Tensor, weight: float) -> None:
        """Take a network, conditions (B, h, D) with and without what is exaggerated, and w."""
        self.network, self.weight = network, weight
        self.both = torch.cat((cond, without))

    def __call__(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Evaluate the network; `cond` is that of the constructor."""
        told, untold = self.network(torch.cat((x, x)), torch.cat((times, times)), self.both).chunk(2)
        return torch.lerp(untold, told, self.weight)
