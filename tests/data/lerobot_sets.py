"""Small data sets in LeRobot's layouts, written with pyarrow and PyAV alone."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CAMERA = "observation.images.top"
JOINTS = ("a", "b", "c")
TASKS = ("push the cube", "lift the cube")
Arrays = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """What a data set is made of.

    Attributes:
        pictures: "video", "image" or None.
        together: episodes in a file of rows, films or `meta` (v3).
        columns: further columns, key -> (N,) or (N, width); they are features of `info.json` too.
        info: changes in `info.json`.
        feature: changes in the camera's feature.
    """

    version: str = "v3.0"
    pictures: str | None = "video"
    lengths: tuple[int, ...] = (5, 7)
    together: int = 1000
    rate: int = 10
    codec: str = "libx264"
    gop: int = 4
    size: tuple[int, int] = (32, 48)
    columns: Arrays = field(default_factory=lambda: {})
    info: Arrays = field(default_factory=lambda: {})
    feature: Arrays = field(default_factory=lambda: {})


def picture(row: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """(H, W, 3) uint8, smooth, another one in every row of a data set."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / max(size)
    waves = [np.sin(2 * x + 0.9 * row), np.cos(2 * y + 0.7 * row), np.sin(x + y - 1.3 * row)]
    return (127.5 + 80 * np.stack(waves, axis=-1)).round().astype(np.uint8)


def rows_of(made: Made) -> Arrays:
    """Return the columns of all rows."""
    count, lengths = sum(made.lengths), np.array(made.lengths)
    rng = np.random.default_rng(0)
    frame = np.concatenate([np.arange(length) for length in made.lengths])
    return {
        "observation.state": rng.normal(size=(count, 3)).astype("f"),
        "action": rng.uniform(-1, 1, (count, 2)).astype("f"),
        **made.columns,
        "timestamp": (frame / made.rate).astype("f"),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(count),
        "task_index": np.repeat(np.arange(len(lengths)) % len(TASKS), lengths),
    }


def film(file: Path, frames: Sequence[np.ndarray], made: Made) -> Path:
    """Write an MP4."""
    file.parent.mkdir(parents=True, exist_ok=True)
    options = {"libx264": {"crf": "12", "bf": "2"}, "libsvtav1": {"crf": "20", "preset": "10"}}
    with av.open(str(file), "w") as output:
        stream: Any = output.add_stream(made.codec, made.rate, options=options.get(made.codec, {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = made.gop
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    return file


def encoded(frame: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, kind)
    return stream.getvalue()


def column(value: Any) -> Any:
    """Return a column of Parquet, lists where a row has several numbers."""
    value = np.asarray(value)
    return pa.array(value.tolist(), pa.list_(pa.from_numpy_dtype(value.dtype))) if value.ndim > 1 else pa.array(value)


def table(file: Path, columns: Arrays) -> Path:
    """Write a Parquet file; what is no column yet becomes one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = {key: value if isinstance(value, pa.Array) else column(value) for key, value in columns.items()}
    pq.write_table(pa.table(made), file)
    return file


def rewrite(file: Path, drop: Sequence[str] = (), **changes: Any) -> None:
    """Change columns of a Parquet file; names have "__" in place of "." and "/" in place of "_of_"."""
    stored = pq.read_table(file)
    columns = {name: stored[name].combine_chunks() for name in stored.schema.names if name not in drop}
    table(file, columns | changes)


def write(root: Path, made: Made | None = None) -> Path:
    """Write a data set."""
    made = made or Made()
    rows = rows_of(made)
    _write_info(root, made, rows)
    (_write_v2 if made.version.startswith("v2") else _write_v3)(root, made, rows)
    return root


def info_of(root: Path) -> Arrays:
    return json.loads((root / "meta" / "info.json").read_text())


def change_info(root: Path, **changes: Any) -> Path:
    file = root / "meta" / "info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return root


def _write_info(root: Path, made: Made, rows: Arrays) -> None:
    features: Arrays = {
        key: {"dtype": str(value.dtype), "shape": list(value.shape[1:]) or [1], "names": None}
        for key, value in rows.items()
    }
    features["observation.state"]["names"] = list(JOINTS)
    features["action"]["names"] = {"motors": ["a", "b"]}
    if made.pictures:
        axes = ["height", "width", "channels"]
        features[CAMERA] = {"dtype": made.pictures, "shape": [*made.size, 3], "names": axes} | made.feature
    info: Arrays = {"codebase_version": made.version, "robot_type": "arm", "fps": made.rate, "features": features}
    info |= {"total_episodes": len(made.lengths), "total_frames": sum(made.lengths), "total_tasks": len(TASKS)}
    info |= {"splits": {"train": f"0:{len(made.lengths)}"}, "chunks_size": 1000}
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(info | made.info))
    (root / "meta" / "stats.json").write_text("{}")


def _cut(made: Made, rows: Arrays, first: int, last: int) -> tuple[Arrays, list[np.ndarray]]:
    """Return the columns of some episodes, pictures in them, and their frames."""
    ends = np.cumsum([0, *made.lengths])
    span = range(int(ends[first]), int(ends[last]))
    part = {key: value[span.start : span.stop] for key, value in rows.items()}
    frames = [picture(row, made.size) for row in span]
    if made.pictures == "image":
        stored = [{"bytes": encoded(frame), "path": f"frame-{row}.png"} for row, frame in enumerate(frames)]
        part[CAMERA] = pa.array(stored, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    return part, frames


def _write_v2(root: Path, made: Made, rows: Arrays) -> None:
    for episode in range(len(made.lengths)):
        part, frames = _cut(made, rows, episode, episode + 1)
        table(root / f"data/chunk-000/episode_{episode:06d}.parquet", part)
        if made.pictures == "video":
            film(root / f"videos/chunk-000/{CAMERA}/episode_{episode:06d}.mp4", frames, made)
    listed = [
        {"episode_index": episode, "tasks": [TASKS[episode % 2]], "length": length}
        for episode, length in enumerate(made.lengths)
    ]
    (root / "meta" / "episodes.jsonl").write_text("".join(json.dumps(one) + "\n" for one in listed))
    tasks = [{"task_index": number, "task": task} for number, task in enumerate(TASKS)]
    (root / "meta" / "tasks.jsonl").write_text("".join(json.dumps(one) + "\n" for one in tasks))
    if made.version == "v2.1":
        (root / "meta" / "episodes_stats.jsonl").write_text("")


def _write_v3(root: Path, made: Made, rows: Arrays) -> None:
    ends = np.cumsum([0, *made.lengths])
    for number, first in enumerate(range(0, len(made.lengths), made.together)):
        episodes = np.arange(first, min(first + made.together, len(made.lengths)))
        part, frames = _cut(made, rows, first, int(episodes[-1]) + 1)
        table(root / f"data/chunk-000/file-{number:03d}.parquet", part)
        here = np.full(len(episodes), number)
        listed: Arrays = {"episode_index": episodes, "length": np.array(made.lengths)[episodes]}
        listed |= {"tasks": pa.array([[TASKS[episode % 2]] for episode in episodes])}
        listed |= {"data/chunk_index": 0 * here, "data/file_index": here}
        listed |= {"dataset_from_index": ends[episodes], "dataset_to_index": ends[episodes + 1]}
        if made.pictures == "video":
            film(root / f"videos/{CAMERA}/chunk-000/file-{number:03d}.mp4", frames, made)
            times = (ends - ends[first]) / made.rate  # within that file
            listed |= {f"videos/{CAMERA}/chunk_index": 0 * here, f"videos/{CAMERA}/file_index": here}
            listed |= {f"videos/{CAMERA}/from_timestamp": times[episodes]}
            listed |= {f"videos/{CAMERA}/to_timestamp": times[episodes + 1]}
        table(root / f"meta/episodes/chunk-000/file-{number:03d}.parquet", listed)
    tasks = {"task_index": np.arange(len(TASKS)), "__index_level_0__": pa.array(list(TASKS))}
    table(root / "meta" / "tasks.parquet", tasks)
