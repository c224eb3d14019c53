"""CALVIN's room after its last control step, as scripted experts see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.calvin.layout import COLORS, Layout
from ..data.calvin.scenes import columns
from ..errors import LaminarError, nearest
from .playroom.snapshot import Link, Snapshot

Array = NDArray[Any]
Info = Mapping[str, Any]

_BLOCK = "block_"  # before the color, in calvin_env's names


class CalvinRoom:
    """State and contacts of calvin_env; whether a task is done is said by its own predicates.

    Attributes:
        layout: where things are.
        info: calvin_env's description of the moment, which its predicates compare.
    """

    info: Info

    def __init__(self, layout: Layout, oracle: Any, block_order: Sequence[str]) -> None:
        """Take calvin_env's predicates, and the colors of its blocks in its own order; `note` comes before all else."""
        self.layout = layout
        self._oracle, self._block_order = oracle, tuple(block_order)
        self._robot, self._scene = np.zeros(15), np.zeros(24)
        self._snapshot: Snapshot | None = None

    def note(self, state: Mapping[str, Any], info: Info) -> None:
        """Take note of a moment: "robot_obs" and "scene_obs", with blocks in calvin_env's order, and info."""
        self._robot = np.asarray(state["robot_obs"], np.float64)
        self._scene = np.asarray(state["scene_obs"], np.float64)[columns(self._block_order, COLORS)]
        self.info, self._snapshot = info, None

    @property
    def gripper(self) -> float:
        """Last command of the gripper, 1 open or -1 closed."""
        return 1.0 if self._robot[14] > 0 else -1.0

    def tcp(self) -> tuple[Array, Array]:
        """Return position (3,) and fixed-axis angles (3,) of the tool center point, meters and radians."""
        return self._robot[:3].copy(), self._robot[3:6].copy()

    def opening(self) -> float:
        """Return the distance between the fingers in meters."""
        return float(self._robot[6])

    def robot_obs(self) -> Array:
        """Return (15,): position, angles, opening (m), 7 joint angles (rad), gripper command."""
        return self._robot.copy()

    def scene_obs(self) -> Array:
        """Return (24,): slider, drawer, button, switch (m), lightbulb, LED (0 or 1), red, blue and pink pose."""
        return self._scene.copy()

    def done(self, start: Info, tasks: Iterable[str] | None = None) -> set[str]:
        """Return which tasks, of all or of some, have been done since a moment that was `info`."""
        if tasks is None:
            return self._oracle.get_task_info(start, self.info)
        return self._oracle.get_task_info_for_set(start, self.info, set(tasks))

    def watch(self, task: str) -> Callable[[], bool]:
        """Return what tells, whenever it is asked, whether a task has been done since now.

        Raises:
            LaminarError: no task has this name.
        """
        if task not in self._oracle.tasks:
            raise LaminarError(f"unknown task '{task}' of CALVIN{nearest(task, self._oracle.tasks)}")
        start = self.info
        return lambda: bool(self.done(start, (task,)))

    def snapshot(self) -> Snapshot:
        """Return what task predicates look at."""
        if self._snapshot is None:
            self._snapshot = snapshot(self.info)
        return self._snapshot


def snapshot(info: Info) -> Snapshot:
    """Return calvin_env's description of a moment as a snapshot."""
    scene, robot = info["scene_info"], info["robot_info"]
    blocks = {color: scene["movable_objects"][_BLOCK + color] for color in COLORS}
    names = _names(scene, robot["uid"])
    return Snapshot(
        slider=float(scene["doors"]["base__slide"]["current_state"]),
        drawer=float(scene["doors"]["base__drawer"]["current_state"]),
        lightbulb=bool(scene["lights"]["lightbulb"]["logical_state"]),
        led=bool(scene["lights"]["led"]["logical_state"]),
        position={color: block["current_pos"] for color, block in blocks.items()},
        rotation={color: _rotation(block["current_orn"]) for color, block in blocks.items()},
        velocity={color: (*block["current_lin_vel"], *block["current_ang_vel"]) for color, block in blocks.items()},
        contacts={color: _touched(block["contacts"], names) for color, block in blocks.items()},
        robot_contacts=_touched(robot["contacts"], names),
    )


def _names(scene: Info, robot: int) -> dict[int, tuple[str, dict[int, str]]]:
    """Return number of a body -> its name, and number of a link -> its name."""
    named: dict[int, tuple[str, dict[int, str]]] = {robot: ("robot", {})}
    for name, body in scene["fixed_objects"].items():
        named[body["uid"]] = name, {number: link for link, number in body["links"].items()}
    for name, body in scene["movable_objects"].items():
        named[body["uid"]] = name.removeprefix(_BLOCK), {-1: "block"}
    return named


def _touched(contacts: Iterable[Sequence[Any]], names: Mapping[int, tuple[str, dict[int, str]]]) -> frozenset[Link]:
    """Return the links of others in pybullet's list of a body's contact points."""
    touched: set[Link] = set()
    for contact in contacts:
        body, links = names.get(contact[2], (f"body {contact[2]}", {}))
        touched.add((body, links.get(contact[4], f"link {contact[4]}")))
    return frozenset(touched)


def _rotation(quaternion: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """Return the rows of the rotation matrix of a unit quaternion (x, y, z, w)."""
    x, y, z, w = quaternion
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
