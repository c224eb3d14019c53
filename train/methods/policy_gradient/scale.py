"""The unit of rewards: the deviation of their discounted sums so far, as on-policy methods take it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_LEAST = 1e-8  # variance, while there is none


class RunningScale:
    """Deviation of R_t = d R_{t-1} + r_t over all chunks so far, in all slots; R begins anew with each episode.

    Attributes:
        deviation: rewards are divided by it.
    """

    def __init__(self, slots: int) -> None:
        """Have seen nothing yet."""
        self._sums = torch.zeros(slots, dtype=torch.float64)
        self._moments = torch.zeros(3, dtype=torch.float64)  # count, mean, sum of squared distances from it

    def add(self, reward: Tensor, discount: Tensor, ended: Tensor) -> None:
        """Take the reward of a chunk in each slot (B,), its discount, and whether its episode is over."""
        sums = discount.double() * self._sums + reward.double()
        self._sums = torch.where(ended, 0.0, sums)
        count, mean, squares = self._moments.unbind()
        more, apart = len(sums), sums.mean() - mean
        total = count + more
        squares = squares + sums.var(correction=0) * more + apart.square() * count * more / total
        self._moments = torch.stack((total, mean + apart * more / total, squares))

    @property
    def deviation(self) -> float:
        """The deviation, 1 before rewards differ."""
        count, _, squares = self._moments.tolist()
        variance = squares / max(count, 1.0)
        return variance**0.5 if variance > _LEAST else 1.0

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs."""
        return {"sums": self._sums, "moments": self._moments}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self._sums, self._moments = state["sums"].clone(), state["moments"].clone()
