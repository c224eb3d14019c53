"""Goals for tasks: the state that a scripted expert reaches from the room as it is, tried in it without a trace."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .experts import script
from .experts.hand import Hand
from .physics import Physics
from .play import PATIENCE, TAIL, leave

Array = NDArray[Any]

_TRIES = 4  # each draws another way and speed


def reached(room: Physics, task: str, random: np.random.Generator) -> Array | None:
    """Return `scene_obs` (24,) of the room after an expert has done a task from here; the room stays as it is.

    As in the windows of play, the state is that a moment after the task was done, or when it was, if it is undone then.

    Args:
        room: where the expert begins.
        task: one of `TASKS`.
        random: of the ways that it takes.

    Returns:
        None where it failed in all its tries.
    """
    for _ in range(_TRIES):
        with room.aside():
            found = _attempt(room, task, random)
        if found is not None:
            return found
    return None


def _attempt(room: Physics, task: str, random: np.random.Generator) -> Array | None:
    done, hand = room.watch(task), Hand(room, random)
    motion = islice(chain(leave(hand), script(task, hand)), PATIENCE)
    for action in motion:
        room.move(action)
        if done():
            break
    else:
        return None
    end = room.scene_obs()
    for action in islice(chain(motion, hand.wait(TAIL)), TAIL):
        room.move(action)
    return room.scene_obs() if done() else end
