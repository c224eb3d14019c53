"""What online learning and evaluation act in: B slots, each with an episode of its own, that execute chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.spec import Spec

Array = NDArray[Any]
Observations = dict[str, Array]
"""Key -> (B, ...): the current observation of every slot, in the dtypes of the spec. They belong to the world, which
overwrites them with the next reset or step: copy what has to last."""


@dataclass(slots=True)  # made for every step, and freezing it would take longer than all of its arrays
class Outcome:
    """What one chunk brought to each slot; rows of slots that were not stepped are zero (`success`: NaN).

    Attributes:
        observation: where it led; of an episode that ended, its last observation.
        reward: (B,) float64, the sum over the executed steps, undiscounted.
        steps: (B,) int64, executed control steps: fewer than the chunk has where the episode ended inside it.
        terminated: (B,) bool, the episode ended in a terminal state.
        truncated: (B,) bool, it was cut off, by a time limit for example; never both.
        success: (B,) float64, 1 if the environment reported success at any executed step, 0 if it denied it at all,
            NaN if it did not tell.
    """

    observation: Observations
    reward: NDArray[np.float64]
    steps: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    success: NDArray[np.float64]

    @property
    def ended(self) -> NDArray[np.bool_]:
        """(B,) bool: the episode is over, one way or the other; the slot has to be reset."""
        return self.terminated | self.truncated


class World(Protocol):
    """B slots. Nothing is reset by itself: `reset` begins an episode in a slot, with a seed of the caller's.

    Attributes:
        spec: what a slot shows and takes; control rate and limits of the actions.
        slots: how many.
    """

    spec: Spec
    slots: int

    @property
    def observations(self) -> Observations:
        """What the last reset or step left in view, of all slots."""
        ...

    def reset(self, seeds: Mapping[int, int], options: Mapping[int, dict[str, Any]] | None = None) -> Observations:
        """Begin an episode in some slots.

        Args:
            seeds: slot -> seed, not negative.
            options: slot -> options of the environment's reset.

        Returns:
            The observations of all slots.

        Raises:
            LaminarError: no such slot, or the environment refuses the seed or an option.
        """
        ...

    def step(self, chunks: Array, slots: Iterable[int] | None = None) -> Outcome:
        """Execute a chunk in each of some slots, until it is done or the episode ends inside it.

        Args:
            chunks: (B, H, A) raw actions, finite; rows of other slots are not read.
            slots: the slots to step; None: all.

        Raises:
            LaminarError: wrong shape, no such slot, or a slot without a running episode.
        """
        ...

    def state(self) -> dict[str, Array]:
        """Return what `load_state` needs to continue the running episodes: seeds, and the actions since.

        Raises:
            LaminarError: an episode began with options or was given a task since; replaying would lead elsewhere.
        """
        ...

    def load_state(self, state: Mapping[str, Array]) -> Observations:
        """Reset all slots with the seeds of `state` and execute its actions again: exact for deterministic simulators.

        Returns:
            The observations of all slots.

        Raises:
            LaminarError: the state is of another world, or the simulator did not repeat itself.
        """
        ...

    def close(self) -> None:
        """Free the simulators; may be called twice."""
        ...
