"""What OGBench's ids mean: `scene-play-singletask-task1-v0` is task 1 of `scene`, with the data `scene-play-v0`.

OGBench calls a task by its data set, and the environment of it without the kind of data, `scene-singletask-task1-v0`.
Both name the same environment here. Without a number it is the world's default task.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

TASKS = 5  # of every world
_MANIPULATED = ("play", "noisy")
_WALKED = ("navigate", "stitch")
WORLDS: dict[str, tuple[str, ...]] = {  # -> kinds of data
    **{f"cube-{count}": _MANIPULATED for count in ("single", "double", "triple", "quadruple", "octuple")},
    "scene": _MANIPULATED,
    **{f"puzzle-{size}": _MANIPULATED for size in ("3x3", "4x4", "4x5", "4x6")},
    **{f"pointmaze-{maze}": _WALKED for maze in ("medium", "large", "giant", "teleport")},
    **{f"antmaze-{maze}": (*_WALKED, "explore") for maze in ("medium", "large", "teleport")},
    "antmaze-giant": _WALKED,
    **{f"humanoidmaze-{maze}": _WALKED for maze in ("medium", "large", "giant", "teleport")},
    **{f"antsoccer-{field}": _WALKED for field in ("arena", "medium")},
}
_ID = re.compile(
    rf"(?P<world>{'|'.join(map(re.escape, WORLDS))})"
    rf"(-(?P<data>[a-z]+(-100m)?))?-singletask(-task(?P<task>[1-{TASKS}]))?-v0"
)


@dataclass(frozen=True)
class Name:
    """One task of a world.

    Attributes:
        world: "scene".
        data: kind of data, "play"; None where the id names none.
        task: number of the task, from 1; None is the default one.
    """

    world: str
    data: str | None
    task: int | None

    @property
    def env_id(self) -> str:
        """The environment as OGBench registers it with gymnasium."""
        return f"{self.world}-singletask{'' if self.task is None else f'-task{self.task}'}-v0"

    @property
    def is_maze(self) -> bool:
        """Whether something walks in it; else an arm moves things."""
        return "play" not in WORLDS[self.world]


def parse(env_id: str) -> Name | None:
    """Return what an id without arguments says; None where it is none of OGBench's single tasks."""
    found = _ID.fullmatch(env_id)
    if found is None or (found["data"] or "").removesuffix("-100m") not in ("", *WORLDS[found["world"]]):
        return None
    return Name(found["world"], found["data"], int(found["task"]) if found["task"] else None)


def all_ids() -> Iterable[str]:
    """Yield every id that `parse` knows."""
    for world, kinds in WORLDS.items():
        for data in ("", *(f"-{kind}{size}" for kind in kinds for size in ("", "-100m"))):
            for task in ("", *(f"-task{number}" for number in range(1, TASKS + 1))):
                yield f"{world}{data}-singletask{task}-v0"
