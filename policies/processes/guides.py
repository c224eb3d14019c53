"""Guides: a gradient at the clean data that a solver sees on its way, which corrects what it steps towards.

What is sampled by p is drawn to p(x_0) exp(r(x_0)) by a term of the score of each noise level,

    grad log p_t(x_t)  +=  grad_{x_t} log E[exp r(x_0) | x_t]  ~  J^T grad r(x0_hat),    J = d x0_hat / d x_t,

where x0_hat = E[x_0 | x_t] is the data that the network predicts. By Tweedie's formula, x0_hat = (x_t + sigma^2 score)
/ alpha, this is a correction of the data, from which every solver here makes its step:

    x0_hat  +=  w(t) J^T grad r,          w(t) = sigma^2 / alpha

It amounts to eps -= (alpha / sigma) w J^T grad r = sigma J^T grad r for a diffusion, and, since data = x_t - t v on
straight paths, to v -= (1 / t) w J^T grad r = t / (1 - t) J^T grad r for a flow; in papers whose time tau runs from
noise to data, v += (1 - tau) / tau J^T grad r. Where p is Gaussian and r linear, it is exact.

The same interface carries any other direction in which the clean data are to move: (w - 1) (data with the condition -
data without it) are classifier-free weights, and mask * (actions that are executed already - data) is the guidance of
real-time chunking, whose clipped weight has this form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .solvers import DataPrediction, Level

Direction = Callable[[Tensor, Level, Tensor], Tensor]
"""(x_t (B, H, A), level, x0_hat (B, H, A)) -> (B, H, A): where the clean data are to move, as the gradient of r."""

MOST_IDENTITY = 1.0
"""Largest weight with J = 1: w J is the covariance of the data given x_t, at most 1 for data between -1 and 1."""
MOST_EXACT = 10.0
"""Largest weight with the network's own J, which near the noise is a small number times a large weight."""


@dataclass(frozen=True)
class Guide:
    """A direction at the clean data, and how it becomes a correction of a prediction.

    Attributes:
        direction: at each clean data that the solver sees.
        exact: whether it is pulled back through the network, J^T direction; else J is taken for the identity.
        most: largest weight, which grows without bound towards the noise.
    """

    direction: Direction
    exact: bool = False
    most: float = MOST_IDENTITY

    def weight(self, level: Level) -> float:
        """Return w at a level: sigma^2 / alpha, at most `most`."""
        return self.most if level.alpha * self.most <= level.sigma**2 else level.sigma**2 / level.alpha

    def around(self, predict: DataPrediction) -> DataPrediction:
        """Return a prediction of the data with the correction; it calls the given one once."""

        def corrected(x: Tensor, level: Level) -> Tensor:
            if not self.exact:
                data = predict(x, level)
                return data + self.weight(level) * self.direction(x, level, data)
            both: Any = torch.func.vjp(lambda state: predict(state, level), x)
            data, pull_back = both
            return data + self.weight(level) * pull_back(self.direction(x, level, data))[0]

        return corrected
