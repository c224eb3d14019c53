"""Picks what an instruction is about from observed objects, so that what is learned of one holds for all."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from ...data.spec import Feature


class Pick(nn.Module):
    """Picks from rows that look alike, one an object: (B, h, objects, D) -> (B, h, HEADS D).

    Which row matters is weighed by what is asked for, by the row itself and by which object it is, once a head: the
    block to be lifted, or the one that is in the hand and the one below. The weights are a softmax over scores of two
    layers. Where rows are compared, the second sees the mean of all beside its own (Zaheer et al. 2017,
    arXiv:1703.06114, eq. 4): the nearest block, or the only one on the table, is so among others and not by itself.
    Where they are not, how rows stand to each other, which tells rooms apart, cannot be learned by heart.
    """

    HEADS, WIDTH = 2, 128

    def __init__(self, feature: Feature, told: int, compared: bool = False) -> None:
        """Pick from rows (objects, D), asked for by `told` numbers; 0 where nothing is asked.

        Args:
            feature: of the rows.
            told: width of what is asked for.
            compared: whether the other rows count, or what is asked for and the row itself alone.
        """
        super().__init__()
        objects, width = feature.shape
        self.output_dim = self.HEADS * width
        self.row, self.told = nn.Linear(width, self.WIDTH), nn.Linear(told, self.WIDTH) if told else None
        self.which = nn.Parameter(torch.zeros(objects, self.WIDTH))
        self.own = nn.Linear(self.WIDTH, self.WIDTH)
        self.among = nn.Linear(self.WIDTH, self.WIDTH, bias=False) if compared else None
        self.score = nn.Linear(self.WIDTH, self.HEADS)

    def forward(self, rows: Tensor, told: Tensor | None = None) -> Tensor:
        """Map rows (B, h, objects, D), and what is asked for (B, h, told), to (B, h, output_dim)."""
        return (self.weights(rows, told).mT @ rows).flatten(-2)

    def weights(self, rows: Tensor, told: Tensor | None = None) -> Tensor:
        """Return how much of each row is picked, (B, h, objects, HEADS), which sum to one over the objects."""
        hidden = self.row(rows) + self.which
        if self.told is not None:
            assert told is not None
            hidden = hidden + self.told(told).unsqueeze(-2)
        hidden = silu(hidden)
        seen = self.own(hidden)
        if self.among is not None:
            seen = seen + self.among(hidden.mean(dim=-2, keepdim=True))
        return self.score(silu(seen)).softmax(dim=-2)
