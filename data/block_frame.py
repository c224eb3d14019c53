"""PushT in the frame of the block: what is seen and done does not depend on where the block lies.

How a T is approached and pushed is the same wherever it lies and however it is turned, and so are these numbers: a
policy that sees them learns of each push what holds for all places. Lengths are in px, angles in rad; ... are any axes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError
from .episodes import Episodes
from .spec import Feature

Array = NDArray[Any]
STATE = 5  # numbers of PushT's state: pusher x, y, block x, y, angle
SEEN = ("pusher x", "pusher y", "goal x", "goal y", "goal cos", "goal sin")
DONE = ("x", "y")
GOAL = (256.0, 256.0, np.pi / 4)  # where the block is to lie: x, y, angle
TABLE = 512.0  # width of the table, within which a target is
REACH = float(np.ceil(np.hypot(TABLE, TABLE)))  # no target of the pusher is further away
_OBSERVATION = "observation"


def seen_from_block(state: Array) -> Array:
    """Return (..., 6) of states (..., 5): where pusher and goal are, cosine and sine of how the goal is turned."""
    block, angle = state[..., 2:4], state[..., 4]
    turned = GOAL[2] - angle
    pusher, goal = _turn(state[..., :2] - block, -angle), _turn(np.asarray(GOAL[:2]) - block, -angle)
    return np.concatenate([pusher, goal, np.stack([np.cos(turned), np.sin(turned)], -1)], -1)


def command_of(target: Array, state: Array) -> Array:
    """Return (..., 2), how far a target (..., 2) is from the pusher, along the axes of the block."""
    return _turn(target - state[..., :2], -state[..., 4])


def target_of(command: Array, state: Array) -> Array:
    """Return the target (..., 2) of a command, on the table: the inverse of `command_of`."""
    return np.clip(state[..., :2] + _turn(command, state[..., 4]), 0.0, TABLE)


def in_block_frame(episodes: Episodes) -> Episodes:
    """Return recorded states and targets as an environment with `frame=block` shows and takes them.

    Raises:
        LaminarError: they are not those of PushT.
    """
    spec = episodes.spec
    shapes = {key: feature.shape for key, feature in spec.observation.items()}
    if shapes != {_OBSERVATION: (STATE,)} or spec.action_dim != len(DONE):
        raise LaminarError(
            f"{episodes.source}: data.frame=block is for states ({STATE},) and targets ({len(DONE)},) of PushT, and "
            f"this shows {shapes} and takes ({spec.action_dim},); leave data.frame out"
        )
    state, final = (one[_OBSERVATION].astype(np.float64) for one in (episodes.observation, episodes.final_observation))
    return replace(
        episodes,
        observation={_OBSERVATION: seen_from_block(state).astype(np.float32)},
        final_observation={_OBSERVATION: seen_from_block(final).astype(np.float32)},
        action=command_of(episodes.action.astype(np.float64), state).astype(np.float32),
        spec=replace(
            spec,
            observation={_OBSERVATION: Feature((len(SEEN),), names=SEEN)},
            action_low=(-REACH,) * len(DONE),
            action_high=(REACH,) * len(DONE),
        ),
    )


def _turn(vector: Array, angle: Array) -> Array:
    """Turn (..., 2) by (...)."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = vector[..., 0], vector[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], -1)
