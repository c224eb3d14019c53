"""The backbone for training on a CPU: large strides first, so that little is computed on many pixels.

A sixth of the work of `small`. The stem is that of Mnih et al. 2015; residual blocks halve its map down
to 8 to 15 cells a side.
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
    halvings = max(int(math.log2(min(plane[:2]) / 32)), 0)
    widths = [_STEM, *[_CHANNELS] * max(halvings, 1)]
    stem = nn.Conv2d(plane[2], _STEM, 8, stride=4, padding=2, bias=False)
    blocks = [Halving(*pair, groups=_GROUPS) for pair in pairwise(widths)]
    return [stem, GroupNorm2d(_GROUPS, _STEM), nn.SiLU(), *blocks], _CHANNELS
