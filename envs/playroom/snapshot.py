"""What the task predicates look at: one moment of the room, without the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Link = tuple[str, str]  # (body, link): ("robot", "panda_leftfinger"), ("table", "drawer_link"), ("red", "block")


@dataclass(frozen=True)
class Snapshot:
    """State and contacts at one moment, world frame.

    Attributes:
        slider, drawer: joint positions in meters, 0 closed (the slider's 0 is the right end).
        lightbulb, led: whether they shine.
        position: color -> (3,) center of the block in meters.
        rotation: color -> (3, 3) rotation matrix of the block.
        velocity: color -> (6,) linear (m/s), then angular (rad/s) velocity.
        contacts: color -> links that touch the block.
        robot_contacts: links of other bodies that the robot touches.
    """

    slider: float
    drawer: float
    lightbulb: bool
    led: bool
    position: dict[str, Array]
    rotation: dict[str, Array]
    velocity: dict[str, Array]
    contacts: dict[str, frozenset[Link]]
    robot_contacts: frozenset[Link]
