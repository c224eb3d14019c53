"""A room: an environment that takes instructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..data.calvin.layout import Layout
from ..errors import LaminarError


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

    def begin(
        self, task: str, sentence: str | None = None, goal: NDArray[Any] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Begin a task here and now: success counts from this moment, the instruction becomes the task's.

        Args:
            task: one of `TASKS`.
            sentence: in which words it is said; None is the one that is kept for evaluation.
            goal: the state of the room that is to be reached; it is shown as "goal", and "instruction" is zeros.

        Returns:
            The observation, with the new instruction or goal; nothing has moved.

        Raises:
            LaminarError: unknown task, sentences cannot be encoded here, or a goal that is not shown here.
        """
        ...


def as_room(env: gymnasium.Env[Any, Any]) -> Room | None:
    """Return the room inside an environment from `make_env`; None where it takes no instructions."""
    inner = env.unwrapped
    return cast(Room, inner) if hasattr(inner, "begin") else None


def reached_by_expert(env: gymnasium.Env[Any, Any], task: str, seed: Sequence[int]) -> NDArray[Any] | None:
    """Return the state, as the room shows goals, that its scripted expert reaches for a task from here.

    Args:
        env: of a room; nothing has moved in it afterwards.
        task: one of `TASKS`.
        seed: of the way that the expert takes.

    Returns:
        None where the expert failed in a few tries.

    Raises:
        LaminarError: the room has no experts, or shows no goals.
    """
    reach = getattr(env.unwrapped, "reached_by_expert", None)
    if reach is None:
        name = getattr(env.unwrapped, "simulator_name", type(env.unwrapped).__name__)
        raise LaminarError(f"no scripted expert reaches goals in {name}; tell tasks by goals in laminar/Playroom-v0")
    return reach(task, np.random.default_rng(seed))


def achieved_in(env: gymnasium.Env[Any, Any]) -> dict[str, int] | None:
    """Return what was done in a room since its task began (`Room.achieved`); None where the room does not tell."""
    told = getattr(env.unwrapped, "achieved", None)
    return None if told is None else dict(told)
