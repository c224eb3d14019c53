"""What the task predicates look at: one moment of the room, without the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Link = tuple[str, str]  # (body, link): ("robot", "panda_leftfinger"), ("table", "drawer_link"), ("red", "block")


@dataclass(frozen=True)
class Snapshot:
    """State and contacts at one moment, world frame; in plain numbers, which is what predicates read fastest.

    Attributes:
        slider, drawer: joint positions in meters, 0 closed (the slider's 0 is the right end).
        lightbulb, led: whether they shine.
        position: color -> center of the block (x, y, z) in meters.
        rotation: color -> rows of the block's rotation matrix.
        velocity: color -> three linear (m/s), then three angular (rad/s) velocity.
        contacts: color -> links that touch the block.
        robot_contacts: links of other bodies that the robot touches.
    """

    slider: float
    drawer: float
    lightbulb: bool
    led: bool
    position: dict[str, Sequence[float]]
    rotation: dict[str, Sequence[Sequence[float]]]
    velocity: dict[str, Sequence[float]]
    contacts: dict[str, frozenset[Link]]
    robot_contacts: frozenset[Link]
