"""Windows of play that are told by where they end: what was reached was, in hindsight, the goal of what led there.

After play's relabelling (Lynch et al. 2019, arXiv:1903.01973). Nobody needs to have said what was done: windows are cut
out of the whole recordings, pauses, failures and detours as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
KEY = "goal"
SHORTEST, LONGEST = 16, 128  # steps; of annotated windows of the playroom nine of ten are no longer
_GOLDEN = (5**0.5 - 1) / 2  # its multiples fall evenly between whole numbers, in no order that a recording could share


def hindsight_windows(spans: Array, count: int) -> Array:
    """Cut windows out of recordings: begun evenly over all steps, lengths spread evenly; nothing is drawn at random.

    Args:
        spans: (E, 2) first and last frame of each recording.
        count: N windows.

    Returns:
        (N, 2) frame of the first step, and the frame in which each ends. None is longer than its recording, and there
        are none of recordings without a step.
    """
    steps = spans[:, 1] - spans[:, 0]
    if not steps.any():
        return np.empty((0, 2), np.int64)
    place = (np.arange(count) + 0.5) / max(1, count) * steps.sum()  # among the steps of all recordings
    ends = np.cumsum(steps)
    which = np.searchsorted(ends, place, side="right")
    share = (place - (ends - steps)[which]) / steps[which]  # of the recording, in [0, 1)
    spread = np.arange(1, count + 1) * _GOLDEN % 1.0
    length = np.minimum(SHORTEST + (spread * (LONGEST + 1 - SHORTEST)).astype(np.int64), steps[which])
    first = spans[which, 0] + (share * (steps[which] - length + 1)).astype(np.int64)
    return np.stack([first, first + length], axis=1)
