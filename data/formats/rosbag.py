"""Bags of ROS and recordings of `laminar deploy`: `.mcap`, `.db3`, `.bag`, or a folder with `metadata.yaml`.

What the topics mean is in the description of a robot (`configs/robot/*.yaml`): that which our own recordings carry, or
`data.robot=NAME|FILE`. An action is what was commanded; its observation is the one that it was computed from, where
`/laminar/observed` tells, else what had come when it was sent. Episodes are marked on `/laminar/episode`, or end in
pauses. A recording that was cut, as by a kill, is read as far as it goes.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import LaminarError
from ..episodes import Episodes
from ..robots.reading import load_robot, robot_from, robot_names
from ..selection import EVERYTHING, Selection

if TYPE_CHECKING:
    from ..bags.bag import Bag
    from ..robots.description import Robot

SELECTS = ("observation", "robot", "instruction")
_MAGICS = {b"\x89MCAP0\r\n": "", b"#ROSBAG V": "", b"SQLite format 3\0": ".db3"}
"""First bytes -> the suffix that a file of them has, where other files begin so too."""
_NEEDED = ("rosbags", "mcap")
KEY = "instruction"  # what is made of the words that the robot was told


def sniff(path: Path) -> bool:
    """Tell whether the file begins as a bag does, or the folder describes one."""
    if path.is_dir():
        about = path / "metadata.yaml"
        return about.is_file() and b"rosbag2_bagfile_information" in about.read_bytes()[:4096]
    with path.open("rb") as file:
        begin = file.read(16)
    return any(begin.startswith(magic) and path.suffix in (suffix or path.suffix,) for magic, suffix in _MAGICS.items())


def read(path: Path, selection: Selection = EVERYTHING) -> Episodes:
    """Read a bag as a robot's episodes.

    Raises:
        LaminarError: rosbags or mcap is missing, nobody describes the robot, or the bag does not fit its description.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise LaminarError(f"{path}: reading bags needs {' and '.join(missing)}: pip install 'laminar[deploy]'")
    from ..bags.demonstrations import demonstrations
    from ..bags.opening import open_bag

    bag = open_bag(path)
    robot, remark = _robot(bag, selection)
    recording = demonstrations(bag, robot, selection.instruction)
    recording.remarks.insert(0, remark)
    return selection.keep(recording.episodes())


def _robot(bag: Bag, selection: Selection) -> tuple[Robot, str]:
    """Return the robot with the observations that are asked for, and where its description is from."""
    own = bag.described()
    if selection.robot is not None:
        robot = load_robot(selection.robot)
        remark = f"read by the description {robot.source}" + (", not by the one in the file" if own else "")
    elif own is not None:
        robot = robot_from(own.description, f"{bag.path}: its description", own.robot)
        recorded = {key: shown for key, shown in robot.observation.items() if key in own.keys}
        robot = replace(robot, observation=recorded) if recorded else robot
        remark = f"read by the description of robot {robot.name} in the file"
    else:
        raise LaminarError(
            f"{bag.path}: does not say what its topics mean; describe the robot in YAML and set data.robot=FILE "
            f"(or data.robot=NAME of {', '.join(robot_names())})"
        )
    said = _said(bag, robot, selection)
    selection.check_keys({*robot.observation} | said, str(bag.path))
    keys = selection.observation or tuple(robot.observation)
    return replace(robot, observation={key: robot.observation[key] for key in keys if key not in said}), remark


def _said(bag: Bag, robot: Robot, selection: Selection) -> set[str]:
    """Return the observation that is made of words: {} of none."""
    if selection.instruction is None:
        return set()
    if KEY in robot.observation:
        raise LaminarError(
            f"{bag.path}: robot {robot.name} shows an observation '{KEY}' itself; leave data.instruction out"
        )
    if selection.observation == (KEY,):
        raise LaminarError(f"{bag.path}: data.observation names nothing but '{KEY}'; name one that is seen beside it")
    return {KEY}
