"""What one control step of one slot brought."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """One control step; `success` is None where the environment does not tell. A time limit ends and cuts short."""

    reward: float
    ended: bool
    success: bool | None
    truncated: bool
