"""Picks what an instruction is about from observed objects, so that what is learned of one holds for all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...data.spec import Feature


class Pick(nn.Module):
    """Picks from rows that look alike, one an object: (B, h, objects, D) -> (B, h, HEADS D).

    Which row matters is weighed by what is asked for, by the row itself and by which object it is, once a head: the
    block to be lifted, or the one that is in the hand and the one below (additive attention, Bahdanau et al. 2015).
    """

    HEADS, WIDTH = 2, 64

    def __init__(self, feature: Feature, told: int) -> None:
        """Pick from rows (objects, D), asked for by `told` numbers; 0 where nothing is asked."""
        super().__init__()
        objects, width = feature.shape
        self.output_dim = self.HEADS * width
        self.row, self.told = nn.Linear(width, self.WIDTH), nn.Linear(told, self.WIDTH) if told else None
        self.which = nn.Parameter(torch.zeros(objects, self.WIDTH))
        self.score = nn.Linear(self.WIDTH, self.HEADS)

    def forward(self, rows: Tensor, told: Tensor | None = None) -> Tensor:
        """Map rows (B, h, objects, D), and what is asked for (B, h, told), to (B, h, output_dim)."""
        hidden = self.row(rows) + self.which
        if self.told is not None:
            assert told is not None
            hidden = hidden + self.told(told).unsqueeze(-2)
        weight = self.score(torch.tanh(hidden)).softmax(dim=-2)  # (B, h, objects, HEADS)
        return (weight.mT @ rows).flatten(-2)
