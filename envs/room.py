"""A room: an environment that takes instructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import gymnasium
from numpy.typing import NDArray

from ..data.calvin.layout import Layout


class Room(Protocol):
    """What an environment with instructions offers beside gymnasium's own members.

    Attributes:
        layout: where things are in its scene.
        task: the one task of every episode, which ends with it; None: nothing is rewarded until a task is begun, and
            nothing ends an episode but `max_steps`.
        max_steps: control steps until truncation; None: no end.
        dt: seconds a control step.
        simulator_name: name and version, for results.
        action_unit: "relative" or "absolute".
        action_names: of the action's numbers.
        observation_units: key -> unit; that of "instruction" is the embedding of the instructions.
    """

    layout: Layout
    task: str | None
    max_steps: int | None
    dt: float
    simulator_name: str
    action_unit: str
    action_names: tuple[str, ...]
    observation_units: dict[str, str]

    @property
    def achieved(self) -> Mapping[str, int]:
        """Task -> control steps since the last `begin` until it was first completed; of every task, asked for or not.

        In the order in which they were completed, by name where that was in one step.
        """
        ...

    def begin(self, task: str, sentence: str | None = None) -> dict[str, NDArray[Any]]:
        """Begin a task here and now: success counts from this moment, the instruction becomes the task's.

        Args:
            task: one of `TASKS`.
            sentence: in which words it is said; None is the one that is kept for evaluation.

        Returns:
            The observation, with the new instruction; nothing has moved.

        Raises:
            LaminarError: unknown task, or sentences cannot be encoded here.
        """
        ...


def as_room(env: gymnasium.Env[Any, Any]) -> Room | None:
    """Return the room inside an environment from `make_env`; None where it takes no instructions."""
    inner = env.unwrapped
    return cast(Room, inner) if hasattr(inner, "begin") else None


def achieved_in(env: gymnasium.Env[Any, Any]) -> dict[str, int] | None:
    """Return what was done in a room since its task began (`Room.achieved`); None where the room does not tell."""
    told = getattr(env.unwrapped, "achieved", None)
    return None if told is None else dict(told)
