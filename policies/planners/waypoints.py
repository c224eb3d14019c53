"""The controller that published maze scores are of: a force towards the next planned position and velocity."""

from __future__ import annotations

from torch import Tensor


def force(state: Tensor, target: Tensor) -> Tensor:
    """Return forces (B, A) for states (B, 2 A) of positions and velocities, and where these are to be next.

    The difference of the positions and that of the velocities, both with a gain of 1, as in Diffuser's code (Janner et
    al. 2022) for Maze2D.
    """
    return (target - state).unflatten(-1, (2, -1)).sum(dim=-2)
