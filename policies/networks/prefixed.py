"""A network that is told how its chunk begins: given actions are clean, at the time of data, those after them are not.

Any network can be: what is given stands in the noisy chunk, and one more number beside each action says whether it is
there. Together with the time of the rest these are the times of all actions, of which each has one of its own, and
where nothing is given the numbers are zeros and the network is what it would be.

What is given comes with the condition, which processes pass on row by row and never look at. So every process can do
with it, in every call of its loss and of its path: noise that a solver leaves at given actions is never seen.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import Network


class Prefixed(Network):
    """A network for chunks with one number more an action, whose first actions can be given."""

    def __init__(self, inner: Network, longest: int, action_dim: int, seen: tuple[int, int]) -> None:
        """Stand in front of a network.

        Args:
            inner: built for action_dim + 1 numbers an action.
            longest: N, actions that can be given, fewer than a chunk has.
            action_dim: A.
            seen: (h, D) of a condition.
        """
        super().__init__()
        self.inner = inner
        self.longest, self.action_dim, self.seen = longest, action_dim, seen

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Map x (B, H, A), times (B, n_times) and cond to (B, H, A); cond is (B, h, D), or from `holding`."""
        cond, held = self._parts(cond)
        return self.inner(self._told(x, held), times, cond)[..., :-1]

    def jvp(
        self, x: Tensor, times: Tensor, cond: Tensor, x_tangent: Tensor, times_tangent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate with the derivative along (x_tangent, times_tangent), along which given actions stand still."""
        cond, held = self._parts(cond)
        still = None if held is None else torch.cat((torch.zeros_like(held[..., :-1]), held[..., -1:]), dim=2)
        tangent = F.pad(self._told(x_tangent, still)[..., :-1], (0, 1))
        value, slope = self.inner.jvp(self._told(x, held), times, cond, tangent, times_tangent)
        return value[..., :-1], slope[..., :-1]

    def conditions(self, times: Tensor, cond: Tensor) -> list[tuple[Any, Tensor | None]]:
        """Return the network's own, each with what is given."""
        cond, held = self._parts(cond)
        return [(condition, held) for condition in self.inner.conditions(times, cond)]

    def body(self, x: Tensor, condition: tuple[Any, Tensor | None]) -> Tensor:
        """Map x (B, H, A) under one of `conditions` to (B, H, A)."""
        own, held = condition
        return self.inner.body(self._told(x, held), own)[..., :-1]

    def _parts(self, cond: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (B, h, D) what is seen, and (B, N, A + 1) what is given, if anything is."""
        if cond.shape[1:] == self.seen:
            return cond, None
        history, width = self.seen
        sizes = [history * width, self.longest * (self.action_dim + 1)]
        seen, held = cond[:, 0].split(sizes, dim=1)
        return seen.unflatten(1, self.seen), held.unflatten(1, (self.longest, self.action_dim + 1))

    def _told(self, x: Tensor, held: Tensor | None) -> Tensor:
        """Return x (B, H, A) with what is given in its place, and beside each action whether it is: (B, H, A + 1)."""
        if held is None:
            return F.pad(x, (0, 1))
        actions, given = held[..., :-1], held[..., -1:]
        first = torch.where(given > 0, actions, x[:, : self.longest])
        rest = F.pad(x[:, self.longest :], (0, 1))
        return torch.cat((torch.cat((first, given), dim=2), rest), dim=1)


def holding(cond: Tensor, actions: Tensor, given: Tensor) -> Tensor:
    """Return the condition (B, 1, h D + N (A + 1)) of chunks that begin with given actions.

    Args:
        cond: (B, h, D).
        actions: (B, N, A), normalized.
        given: (B, N), which of them count.
    """
    told = torch.cat((actions, given[..., None].to(actions)), dim=2)
    return torch.cat((cond.flatten(1), told.flatten(1)), dim=1)[:, None]
