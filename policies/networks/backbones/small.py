"""The smallest backbone: a stem and one residual block for each further halving, down to 8 to 15 cells a side.

As usual for cloning from pictures (Chi et al. 2023) it has group normalization, which works with averaged weights and
batches of any size.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from ..pixels import GroupNorm2d, Halving
from . import EncoderConfig, Plane

_STEM, _CHANNELS, _GROUPS = 32, 64, 8


def layers(plane: Plane, config: EncoderConfig, told: int) -> tuple[list[nn.Module], int]:
    """Build for pixels (H, W, C)."""
    halvings = max(int(math.log2(min(plane[:2]) / 8)), 1)
    widths = [_STEM, *[_CHANNELS] * (halvings - 1)]
    stem = nn.Conv2d(plane[2], _STEM, 5, stride=2, padding=2, bias=False)
    blocks = [Halving(*pair, groups=_GROUPS) for pair in pairwise(widths)]
    return [stem, GroupNorm2d(_GROUPS, _STEM), nn.SiLU(), *blocks], widths[-1]
