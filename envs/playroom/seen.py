"""What scripted experts see of a room, whichever simulator it is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import gymnasium
from numpy.typing import NDArray

from ...data.calvin.layout import Layout
from .snapshot import Snapshot

Array = NDArray[Any]


class SeenRoom(Protocol):
    """A room of CALVIN's kind, after its last control step: the playroom's physics, or the genuine one's.

    Experts and free play read it and give relative actions; they never move anything themselves.

    Attributes:
        layout: where things are.
    """

    layout: Layout

    @property
    def gripper(self) -> float:
        """Last command of the gripper, 1 open or -1 closed."""
        ...

    def tcp(self) -> tuple[Array, Array]:
        """Return position (3,) and fixed-axis angles (3,) of the tool center point, meters and radians."""
        ...

    def opening(self) -> float:
        """Return the distance between the fingers in meters."""
        ...

    def scene_obs(self) -> Array:
        """Return (24,): slider, drawer, button, switch (m), lightbulb, LED (0 or 1), red, blue and pink pose."""
        ...

    def snapshot(self) -> Snapshot:
        """Return what task predicates look at."""
        ...

    def watch(self, task: str) -> Callable[[], bool]:
        """Return what tells, whenever it is asked, whether a task has been done since now.

        Raises:
            LaminarError: no task has this name.
        """
        ...


class Scripted(Protocol):
    """An environment with such a room: laminar's playroom, or the genuine CALVIN.

    Attributes:
        room: what experts see.
        task: of every episode, or None.
        relative: whether its actions are relative, as those of the experts are.
        simulator_name: name and version.
    """

    room: SeenRoom
    task: str | None
    relative: bool
    simulator_name: str


def as_scripted(env: gymnasium.Env[Any, Any]) -> Scripted | None:
    """Return the environment inside one from `make_env`; None where scripted experts are not at home."""
    inner = env.unwrapped
    return cast(Scripted, inner) if hasattr(inner, "room") and hasattr(inner, "relative") else None
