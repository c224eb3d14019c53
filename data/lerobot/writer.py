"""Writing a LeRobotDataset of version 3.0; needs the extra `lerobot`.

LeRobot has no observation after an episode's last action, no limits of actions and no units: what is lost is told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ...progress import Finished, Progress, Watch, silent
from ..episodes import Episodes
from ..whole import whole_folder
from .features import Column, columns_of
from .filming import CODECS, KEY_FRAMES, Codec, Film
from .statistics import statistics
from .tables import CHUNK, SIZE_MB, DataFiles, file_of, place, write_episode_table, write_tasks

Array = NDArray[Any]
VERSION = "v3.0"
OWN = ("meta", "data", "videos", "images", "README.md", ".gitattributes", ".cache")
_VIDEO_MB = 200  # from which on a new file is begun
_AT_ONCE = 64  # pictures in memory
_GOOD = 35.0  # dB


@dataclass(frozen=True)
class Options:
    """How episodes are written.

    Attributes:
        video: pictures become video, not one PNG a row.
        codec: of the video, one of `CODECS`.
    """

    video: bool = True
    codec: str = "av1"


def write(target: Path, episodes: Episodes, options: Options, progress: Progress = silent) -> list[str]:
    """Write episodes as a data set, as a whole or not at all.

    Args:
        target: folder; one that holds a LeRobot data set is replaced.
        episodes: what to write.
        options: how.
        progress: shows what is being done.

    Returns:
        What the data set does not keep, a sentence each.

    Raises:
        LaminarError: a library is missing, nobody tells the rate, an observation is of a kind that LeRobot does not
            have, frames cannot be encoded, or the folder cannot be written.
    """
    _check_libraries(options.video)
    rate = _rate(episodes)
    remarks = _lost(episodes)
    columns = columns_of(episodes, options.video, remarks)
    tasks = _tasks(episodes, remarks)
    named = list(dict.fromkeys(tasks))
    films = sum(column.is_video for column in columns)
    total = episodes.num_episodes * (films + 1)
    with whole_folder(target, OWN, "a LeRobot data set") as folder, progress(total, "episode", "writing") as watch:
        (folder / "meta").mkdir()
        rows = _write_rows(folder, episodes, columns, [named.index(task) for task in tasks], rate, watch)
        for row, task in zip(rows, tasks, strict=True):
            row["tasks"] = [task]
        for column in columns:
            if column.is_video:
                _film(folder, episodes, column, rate, CODECS[options.codec], rows, watch, remarks)
        _write_meta(folder, columns, rows, named, rate)
    return remarks


def _check_libraries(video: bool) -> None:
    missing = [name for name in ("pyarrow", *(["av"] if video else [])) if find_spec(name) is None]
    if missing:
        raise LaminarError(f"writing LeRobot data needs {' and '.join(missing)}: pip install 'laminar[lerobot]'")


def _rate(episodes: Episodes) -> Fraction:
    if episodes.spec.rate_hz is None:
        raise LaminarError(f"{episodes.source}: does not tell its control rate, which LeRobot needs; give rate_hz=HZ")
    return Fraction(episodes.spec.rate_hz).limit_denominator(1001)


def _lost(episodes: Episodes) -> list[str]:
    remarks = ["LeRobot has no observation after the last action: the final observations are not written"]
    if episodes.has_reward and episodes.truncated.any():
        count = int(episodes.truncated.sum())
        remarks.append(
            f"with rewards but without it, a reader gives up the last step of the {count} episodes that were cut off"
        )
    if episodes.spec.action_low is not None:
        remarks.append("limits of the actions are not written: LeRobot has none")
    return remarks


def _tasks(episodes: Episodes, remarks: list[str]) -> list[str]:
    """Return what each episode was to do."""
    if episodes.tasks is not None:
        return [str(task) for task in episodes.tasks]
    remarks.append("nobody tells the task in words: it is empty; task='…' gives it")
    return [""] * episodes.num_episodes


def _write_rows(
    folder: Path, episodes: Episodes, columns: Sequence[Column], task: Sequence[int], rate: Fraction, watch: Watch
) -> list[dict[str, Any]]:
    """Write the parquet files, and return what is known of each episode."""
    files = DataFiles(folder)
    rows: list[dict[str, Any]] = []
    for episode, (first, end) in enumerate(zip(episodes.starts.tolist(), episodes.ends.tolist(), strict=True)):
        indices = _indices(episode, first, end, task[episode], rate)
        steps = slice(first, end)
        kept = [Column(one.name, one.values[steps], one.feature) for one in columns]
        number = files.add([one for one in (*kept, *indices) if not one.is_video], slice(None))
        found = {one.name: statistics(one.values, one.is_picture) for one in (*kept, *indices)}
        chunk, file = place(number)
        row = {"episode_index": episode, "length": end - first, "dataset_from_index": first, "dataset_to_index": end}
        row |= {"data/chunk_index": chunk, "data/file_index": file}
        rows.append(row | {f"stats/{name}/{what}": one[what] for name, one in found.items() for what in one})
        watch(Finished())
    files.close()
    return rows


def _indices(episode: int, first: int, end: int, task: int, rate: Fraction) -> list[Column]:
    """Return LeRobot's own columns of one episode, or of several."""
    frame = np.arange(end - first)
    columns = {
        "timestamp": (frame / float(rate)).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(len(frame), episode),
        "index": np.arange(first, end),
        "task_index": np.full(len(frame), task),
    }
    return [_own(name, values) for name, values in columns.items()]


def _own(name: str, values: Array) -> Column:
    return Column(name, values[:, None], {"dtype": str(values.dtype), "shape": [1], "names": None})


def _film(
    folder: Path,
    episodes: Episodes,
    column: Column,
    rate: Fraction,
    codec: Codec,
    rows: Sequence[dict[str, Any]],
    watch: Watch,
    remarks: list[str],
) -> None:
    """Encode one camera, and add to what is known of each episode where its frames are."""
    place_of, film, number, worst = f"videos/{column.name}", None, 0, np.inf
    for row in rows:
        if film is not None and film.size >= _VIDEO_MB << 20:
            worst, film, number = min(worst, film.close()), None, number + 1
        if film is None:
            film = Film(folder / place_of / file_of(number, ".mp4"), column.values.shape[1:], rate, codec)
        chunk, file = place(number)
        begin = film.frames
        for first in range(row["dataset_from_index"], row["dataset_to_index"], _AT_ONCE):
            film.add(np.asarray(column.values[first : min(first + _AT_ONCE, row["dataset_to_index"])]))
        row |= {f"{place_of}/chunk_index": chunk, f"{place_of}/file_index": file}
        row |= {
            f"{place_of}/from_timestamp": begin / float(rate),
            f"{place_of}/to_timestamp": film.frames / float(rate),
        }
        watch(Finished())
    worst = min(worst, film.close()) if film is not None else worst
    if worst < _GOOD:
        remarks.append(
            f"video of '{column.name}' is within {worst:.0f} dB of its pictures; video=false keeps them exactly"
        )
    column.feature["info"] = _about(column, rate, codec)


def _about(column: Column, rate: Fraction, codec: Codec) -> dict[str, Any]:
    return {
        "video.height": column.values.shape[1],
        "video.width": column.values.shape[2],
        "video.channels": 3,
        "video.codec": codec.name,
        "video.pix_fmt": codec.pixels,
        "video.g": KEY_FRAMES,
        "video.fps": _number(rate),
        "is_depth_map": False,
        "has_audio": False,
    }


def _number(rate: Fraction) -> int | float:
    return int(rate) if rate.denominator == 1 else float(rate)


def _write_meta(
    folder: Path, columns: Sequence[Column], rows: Sequence[dict[str, Any]], tasks: Sequence[str], rate: Fraction
) -> None:
    """Write `meta/`, `info.json` last: what has none is no data set."""
    write_tasks(folder, tasks)
    write_episode_table(folder, rows)
    steps = rows[-1]["dataset_to_index"]
    own = _whole_indices(rows, tasks, rate)
    found = {one.name: statistics(one.values, one.is_picture) for one in (*columns, *own)}
    features = {one.name: one.feature for one in (*columns, *own)}
    info = {
        "codebase_version": VERSION,
        "robot_type": None,
        "total_episodes": len(rows),
        "total_frames": steps,
        "total_tasks": len(tasks),
        "chunks_size": CHUNK,
        "data_files_size_in_mb": SIZE_MB,
        "video_files_size_in_mb": _VIDEO_MB,
        "fps": _number(rate),
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": features,
    }
    if any(one.is_video for one in columns):
        info["video_path"] = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    for name, value in {"stats": found, "info": info}.items():
        (folder / "meta" / f"{name}.json").write_text(json.dumps(value, indent=4), encoding="utf-8")


def _whole_indices(rows: Sequence[dict[str, Any]], tasks: Sequence[str], rate: Fraction) -> list[Column]:
    """Return LeRobot's own columns of all episodes."""
    parts = [
        _indices(
            row["episode_index"], row["dataset_from_index"], row["dataset_to_index"], tasks.index(row["tasks"][0]), rate
        )
        for row in rows
    ]
    return [
        Column(same[0].name, np.concatenate([one.values for one in same]), same[0].feature)
        for same in zip(*parts, strict=True)
    ]
