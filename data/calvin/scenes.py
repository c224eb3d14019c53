"""Which room a data set is from, and in which order its `scene_obs` lists the blocks.

The order is that of the scene's own configuration: red, blue, pink in scenes B and D, but not in A and C. Inside
laminar it is always red, blue, pink.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ...errors import LaminarError
from .. import numpy_pickle
from .layout import COLORS, LAYOUTS
from .room import KEY, WIDTH, room_obs

Array = NDArray[Any]
CONFIG = Path(".hydra", "merged_config.yaml")
INFO = "scene_info.npy"
ORDERS = {scene: layout.file_order for scene, layout in LAYOUTS.items()}
_WIDTH, _BLOCKS, _BLOCK = 24, 6, 6  # numbers in scene_obs, before the blocks, and a block


@dataclass(frozen=True)
class Scenes:
    """The scenes of a split: names, block orders in the files, and first and last frame (S, 2), inclusive."""

    names: tuple[str, ...]
    orders: tuple[tuple[str, ...], ...]
    spans: Array

    @property
    def unit(self) -> str:
        """Unit of `scene_obs` in a Spec: "scene D", or "scenes ABC" for several."""
        return f"scene {self.names[0]}" if len(self.names) == 1 else f"scenes {''.join(self.names)}"

    def to_house_order(self, values: Array, numbers: Array, folder: Path) -> Array:
        """Return scene_obs (N, 24) of the frames with the given numbers (N,), the blocks as red, blue, pink.

        Raises:
            LaminarError: another width, or a frame that belongs to no scene or to two.
        """
        if values.shape[1:] != (_WIDTH,):
            raise LaminarError(f"{folder}: 'scene_obs' has shape {values.shape[1:]}, expected ({_WIDTH},)")
        ordered = np.empty_like(values)
        for order, mine in zip(self.orders, self._rows(numbers, folder), strict=True):
            ordered[mine] = values[mine][:, columns(order, COLORS)]
        return ordered

    def room_obs(self, scene_obs: Array, numbers: Array, folder: Path) -> Array:
        """Return `room.room_obs` (N, 42) of `scene_obs` (N, 24) in the house's order, of frames with such numbers.

        Raises:
            LaminarError: a frame that belongs to no scene or to two, or a scene whose places are unknown.
        """
        seen = np.empty((len(scene_obs), WIDTH), scene_obs.dtype)
        for name, mine in zip(self.names, self._rows(numbers, folder), strict=True):
            if name not in LAYOUTS:
                raise LaminarError(f"{folder}: where things are in scene {name} is unknown; leave out {KEY}")
            seen[mine] = room_obs(scene_obs[mine], LAYOUTS[name])
        return seen

    def _rows(self, numbers: Array, folder: Path) -> list[Array]:
        """Return which (N,) frames are in each scene."""
        rows = [(numbers >= first) & (numbers <= last) for first, last in self.spans.tolist()]
        count = np.sum(rows, axis=0)
        if (count > 1).any():
            raise LaminarError(f"{folder / INFO}: frame {numbers[count > 1][0]} is in two scenes; copy it again")
        if (count == 0).any():
            lost = numbers[count == 0]
            raise LaminarError(f"{folder / INFO}: {len(lost)} frames are in none of its scenes, first {lost[0]}")
        return rows


def columns(source: tuple[str, ...], target: tuple[str, ...]) -> Array:
    """Return (24,) indices that bring a `scene_obs` whose blocks are in the order `source` to the order `target`."""
    blocks = [np.arange(_BLOCK) + _BLOCKS + _BLOCK * source.index(color) for color in target]
    return np.concatenate([np.arange(_BLOCKS), *blocks])


def read_scenes(folder: Path, remarks: list[str]) -> Scenes:
    """Find out the scenes of a split from its configuration and its scene_info.npy.

    Raises:
        LaminarError: neither is there, they are damaged, or they contradict each other.
    """
    config = _read_config(folder / CONFIG) if (folder / CONFIG).is_file() else None
    spans = _read_info(folder / INFO) if (folder / INFO).is_file() else {}
    if config is None and not spans:
        raise LaminarError(
            f"{folder / CONFIG}: missing, only it tells the order of the blocks in 'scene_obs'; copy it from the data "
            "set, or leave scene_obs out with data.observation=[robot_obs]"
        )
    if config is not None and len(spans) < 2:
        if spans and config[0] not in spans:
            raise LaminarError(
                f"{folder / INFO} says scene {next(iter(spans))}, but {CONFIG} says scene {config[0]} (early downloads "
                f"of CALVIN have a wrong {INFO}); replace or delete the wrong one"
            )
        return Scenes((config[0],), (config[1],), np.array([[0, np.iinfo(np.int64).max]]))
    known = ORDERS if config is None else {**ORDERS, config[0]: config[1]}
    strange = [name for name in spans if name not in known]
    if strange:
        raise LaminarError(f"{folder / INFO}: the order of the blocks in scene {strange[0]} is unknown")
    remarks.append(f"order of the blocks in {', '.join(spans)}: as in CALVIN's environment of these scenes")
    return Scenes(tuple(spans), tuple(known[name] for name in spans), np.array(list(spans.values())))


def write_scenes(folder: Path, spans: Mapping[str, tuple[int, int]]) -> None:
    """Write scene_info.npy, scene -> first and last frame, and the configuration of the last one.

    The configuration is the part that tells a scene and its blocks, and there is room for one.

    Raises:
        OSError: the disk is full or not writable.
    """
    scene = list(spans)[-1]
    table = f"calvin_table_{scene}/urdf/calvin_table_{scene}.urdf"
    blocks = {f"block_{color}": {"initial_pos": "any", "initial_orn": "any"} for color in ORDERS[scene]}
    objects = {"fixed_objects": {"table": {"file": table}}, "movable_objects": blocks}
    (folder / CONFIG).parent.mkdir()
    text = yaml.safe_dump({"scene": {"objects": objects}}, sort_keys=False)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    numpy_pickle.write(folder / INFO, {f"calvin_scene_{name}": list(span) for name, span in spans.items()})


def _read_config(file: Path) -> tuple[str, tuple[str, ...]]:
    """Return name and block order of the configured scene."""
    try:
        objects = yaml.safe_load(file.read_text(encoding="utf-8"))["scene"]["objects"]
        table, blocks = str(objects["fixed_objects"]["table"]["file"]), list(objects["movable_objects"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise LaminarError(
            f"{file}: it does not tell the scene's table and blocks ({reason}); copy it again"
        ) from error
    order = tuple(color for block in blocks for color in COLORS if color in str(block))
    if sorted(order) != sorted(COLORS):
        raise LaminarError(f"{file}: the movable objects are {blocks}, expected one block each of {', '.join(COLORS)}")
    found = re.search(r"calvin_table_(\w+?)\b", table)
    if found is None:
        raise LaminarError(f"{file}: the table's file '{table}' does not tell the scene, expected calvin_table_<SCENE>")
    return found[1], order


def _read_info(file: Path) -> dict[str, tuple[int, int]]:
    """Return scene name -> first and last frame."""
    spans: dict[str, tuple[int, int]] = {}
    for name, span in numpy_pickle.read(file).items():
        try:
            first, last = (int(number) for number in span)
        except (TypeError, ValueError) as error:
            raise LaminarError(f"{file}: scene '{name}' has {span!r}, expected first and last frame") from error
        spans[str(name).removeprefix("calvin_scene_")] = (first, last)
    if not spans:
        raise LaminarError(f"{file}: it names no scene; copy it again, or delete it")
    return spans
