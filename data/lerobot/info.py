"""`meta/info.json`: which features a data set has, how fast it was recorded, and where its files lie."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import LaminarError

INFO = "meta/info.json"
PICTURES = ("image", "video")
NUMBERS = ("float16", "float32", "float64", "bool", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Columns of every data set that are neither seen nor done."""
_TOTALS = ("total_episodes", "total_frames", "total_tasks")
_KNOWN = {
    *("codebase_version", "robot_type", "fps", "features", "data_path", "video_path", "chunks_size", "splits"),
    *("data_files_size_in_mb", "video_files_size_in_mb", "total_videos", "total_chunks", *_TOTALS),
}
_PATHS = {
    2: {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    },
    3: {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    },
}
_FIELD = re.compile(r"\{(\w+)(?::0?(\d{1,2})d)?\}")  # of Python's format strings, no more than LeRobot writes
_LONGEST = 1 << 20  # numbers in one row of a feature


@dataclass(frozen=True)
class Stored:
    """One feature as `info.json` describes it.

    Attributes:
        dtype: numpy's name, "string", "image" or "video".
        shape: of one row; of pictures (H, W, C), whatever the order in the file.
        names: one for each number of a flat feature, or none.
        depth: a picture of distances and not of colors.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    depth: bool = False

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture in Parquet, or a frame of a film."""
        return self.dtype in PICTURES


@dataclass(frozen=True)
class Info:
    """What `info.json` says.

    Attributes:
        version: 2 or 3.
        rate_hz: frames a second.
        totals: those of episodes, frames and tasks that are stated.
        unread: entries that nobody knows.
    """

    folder: Path
    version: int
    rate_hz: float
    features: dict[str, Stored]
    totals: dict[str, int]
    chunks_size: int
    splits: tuple[str, ...]
    robot: str
    unread: tuple[str, ...]
    paths: dict[str, str]

    @property
    def file(self) -> Path:
        """The file itself, for messages."""
        return self.folder / INFO

    def place(self, which: str, **numbers: int | str) -> Path:
        """Return a file of data or of a film.

        Args:
            which: "data_path" or "video_path".
            numbers: what its pattern names.

        Raises:
            LaminarError: the pattern names something else, or leads out of the folder.
        """
        pattern = self.paths[which]

        def fill(match: re.Match[str]) -> str:
            if match[1] not in numbers:
                raise LaminarError(f"{self.file}: '{which}' names {{{match[1]}}}, expected {sorted(numbers)}")
            return str(numbers[match[1]]).zfill(int(match[2] or 0))

        path = Path(_FIELD.sub(fill, pattern))
        if path.is_absolute() or ".." in path.parts or "\0" in str(path):
            raise LaminarError(f"{self.file}: '{which}' is {pattern!r}, which leads out of the folder; repair it")
        return self.folder / path


def is_data_set(folder: Path) -> bool:
    """Tell whether a folder has a `meta/info.json` that states the version of its layout."""
    file = folder / INFO
    return file.is_file() and b'"codebase_version"' in file.read_bytes()[: 1 << 20]


def read_info(folder: Path) -> Info:
    """Read `meta/info.json`.

    Raises:
        LaminarError: it is damaged, of a version that is not read, or lacks what nobody can guess.
    """
    file = folder / INFO
    stored = read_json(file)
    version = _version(stored.get("codebase_version"), file)
    rate = stored.get("fps")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise LaminarError(f"{file}: 'fps' is {rate!r}, expected frames a second; copy it again")
    features = stored.get("features")
    if not isinstance(features, dict) or not features:
        raise LaminarError(f"{file}: no 'features', which say what the columns are; copy it again")
    chunks_size = _whole(stored.get("chunks_size", 1000), "chunks_size", file, least=1)
    return Info(
        folder,
        version,
        float(rate),
        {key: _feature(key, feature, file) for key, feature in features.items()},
        {name: _whole(stored[name], name, file) for name in _TOTALS if name in stored},
        chunks_size,
        tuple(stored["splits"]) if isinstance(stored.get("splits"), dict) else (),
        str(stored.get("robot_type") or ""),
        tuple(sorted(stored.keys() - _KNOWN)),
        {name: str(stored.get(name) or usual) for name, usual in _PATHS[version].items()},
    )


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        LaminarError: it is missing, damaged, or no object.
    """
    try:
        stored: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise LaminarError(f"{file}: missing or not readable ({error.strerror}); copy the data set again") from error
    except (ValueError, RecursionError) as error:
        raise LaminarError(f"{file}: no JSON, or damaged ({type(error).__name__}); copy it again") from error
    if not isinstance(stored, dict):
        raise LaminarError(f"{file}: holds no JSON object; copy it again")
    return stored


def _version(stated: Any, file: Path) -> int:
    match = re.fullmatch(r"v?([23])\.(\d+)", str(stated))
    if match is None or int(match[2]) > (1 if match[1] == "2" else 0):
        raise LaminarError(
            f"{file}: 'codebase_version' is {stated!r}, and v2.0, v2.1 and v3.0 are read; convert the data set with "
            "the lerobot release that goes with it"
        )
    return int(match[1])


def _whole(value: Any, name: str, file: Path, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise LaminarError(f"{file}: '{name}' is {value!r}, expected a whole number of at least {least}; repair it")
    return value


def _feature(key: str, stored: Any, file: Path) -> Stored:
    try:
        dtype, shape = str(stored["dtype"]), tuple(int(size) for size in stored["shape"])
        names, flags = stored.get("names"), {**_flags(stored, "info"), **_flags(stored, "video_info"), **stored}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise LaminarError(f"{file}: feature '{key}' has no 'dtype' and 'shape' ({error!r}); copy it again") from error
    if min(shape, default=1) < 1 or math.prod(shape) > _LONGEST * (64 if dtype in PICTURES else 1):
        raise LaminarError(f"{file}: feature '{key}' has the shape {list(shape)}; repair it")
    depth = any(flags.get(name) is True for name in ("is_depth_map", "video.is_depth_map"))
    if dtype in PICTURES:
        return Stored(key, dtype, _channels_last(shape, names), (), depth)
    return Stored(key, dtype, shape, _flat_names(names, shape))


def _flags(stored: Mapping[str, Any], where: str) -> dict[str, Any]:
    inside = stored.get(where)
    return dict(inside) if isinstance(inside, Mapping) else {}


def _channels_last(shape: tuple[int, ...], names: Any) -> tuple[int, ...]:
    """Return (H, W, C): names tell which axis has the channels, and without any the smallest size at an end."""
    if len(shape) != 3:
        return shape
    named = [str(name).lower() for name in names] if isinstance(names, list | tuple) and len(names) == 3 else []
    first = named[0].startswith("c") if named else shape[0] in (1, 3) and shape[2] not in (1, 3)
    return (*shape[1:], shape[0]) if first else shape


def _flat_names(names: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the numbers: a list of them, or one that lies in dictionaries ({"motors": [...]})."""
    while isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    if isinstance(names, dict):  # {"x": 0, "y": 1}
        names = list(names)
    fits = isinstance(names, list | tuple) and len(shape) == 1 and len(names) == shape[0]
    return tuple(str(name) for name in names) if fits else ()
