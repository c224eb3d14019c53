"""A controller for point masses: a force to where the plan will be in a moment, damped by the velocity.

Published maze scores are of such a controller, not of the model's own actions. That of Diffuser's code adds the
difference to the next planned velocity; a plan that rests at a goal as it arrived there, with its speed, would be left
again by that, and here the velocity is only damped. The gains are for Maze2D: at a steady speed they neither gain on
the plan nor fall behind.
"""

from __future__ import annotations

from torch import Tensor

AHEAD = 10  # control steps, of 0.01 s
GAIN, DAMPING = 10.0, 1.0  # force per meter, and per meter a second


def force(state: Tensor, target: Tensor) -> Tensor:
    """Return forces (B, A) for states (B, 2 A), positions then velocities, and where to be `AHEAD` steps on."""
    position, velocity = state.chunk(2, dim=-1)
    return GAIN * (target[..., : position.shape[-1]] - position) - DAMPING * velocity
