"""Writing a replay buffer: a folder in version 2 of zarr, which every release of zarr opens.

The format is simple enough to be written without the library: JSON beside chunks that zlib has deflated.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..episodes import Episodes
from ..whole import whole_folder
from .layout import ACTION, REWARD
from .ours import ATTRIBUTE, FINAL, INFO, SUCCESS, TERMINATED, flat

Array = NDArray[Any]
_CHUNK = 1 << 20  # bytes
_LEVEL = 1  # of zlib, the fastest
_COMPRESSOR = {"id": "zlib", "level": _LEVEL}
_OWN = (".zgroup", ".zattrs", ".zmetadata", "data", "meta", FINAL, INFO)


def write(target: Path, episodes: Episodes) -> None:
    """Write episodes so that the reader returns the same; whole or not at all.

    Args:
        target: folder; one that holds a zarr store is replaced.
        episodes: what to write; `remarks` and `group` are not stored.

    Raises:
        LaminarError: two observations have one name in the store, or the folder cannot be written.
    """
    arrays = _arrays(episodes)
    with whole_folder(target, _OWN, "a zarr store") as folder:
        for name in sorted({"data", "meta", *(name.partition("/")[0] for name in arrays)}):
            _write_json(folder / name / ".zgroup", {"zarr_format": 2})
        for name, value in arrays.items():
            _write_array(folder / name, value)
        infos = {key: flat(key) for key in episodes.infos}
        tasks = None if episodes.tasks is None else [str(task) for task in episodes.tasks]
        ours = {"spec": episodes.spec.to_json(), "tasks": tasks, "infos": infos}
        _write_json(folder / ".zattrs", {ATTRIBUTE: ours})
        _write_json(folder / ".zgroup", {"zarr_format": 2})


def _arrays(episodes: Episodes) -> dict[str, Array]:
    """Return the store's arrays by their names."""
    named = [(f"data/{flat(key)}", value) for key, value in episodes.observation.items()]
    named += [(f"data/{ACTION}", episodes.action)]
    named += [(f"data/{REWARD}", episodes.reward)] if episodes.has_reward else []
    named += [(f"{FINAL}/{flat(key)}", value) for key, value in episodes.final_observation.items()]
    named += [(f"{INFO}/{flat(key)}", value) for key, value in episodes.infos.items()]
    named += [("meta/episode_ends", episodes.ends), (TERMINATED, episodes.terminated[episodes.ends - 1])]
    named += [] if episodes.success is None else [(SUCCESS, episodes.success)]
    arrays: dict[str, Array] = {}
    for name, value in named:
        if name in arrays:
            raise LaminarError(f"{episodes.source}: two arrays would be called '{name}' in the store; rename one")
        arrays[name] = value
    return arrays


def _write_array(folder: Path, value: Array) -> None:
    """Write an array chunk by chunk, each of whole rows."""
    dtype = value.dtype.newbyteorder("<") if value.dtype.itemsize > 1 else value.dtype
    size = max(1, int(np.prod(value.shape[1:])) * dtype.itemsize)
    rows = max(1, min(len(value), _CHUNK // size))
    description = {
        "zarr_format": 2,
        "shape": list(value.shape),
        "chunks": [rows, *value.shape[1:]],
        "dtype": dtype.str,
        "compressor": _COMPRESSOR,
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    _write_json(folder / ".zarray", description)
    behind = ".0" * (value.ndim - 1)
    for number, first in enumerate(range(0, len(value), rows)):
        chunk = np.zeros((rows, *value.shape[1:]), dtype)  # the last one is as large as the others
        part = np.asarray(value[first : first + rows])
        chunk[: len(part)] = part
        (folder / f"{number}{behind}").write_bytes(zlib.compress(chunk.tobytes(), _LEVEL))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
