"""Which episodes there are and where their rows and frames lie: `meta/episodes` and `meta/tasks` of v2 and v3."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .info import Info
from .parquet import as_array, as_words, open_table, read_columns

Array = NDArray[Any]
_WORDS = ("task", "__index_level_0__")  # columns that a task's words may be in: pandas wrote them as its index
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Clip:
    """Where an episode's frames are: they begin `start` seconds into a film that may hold others."""

    file: Path
    start: float = 0.0


@dataclass(frozen=True)
class Listing:
    """The episodes, E in number, of either layout.

    Attributes:
        numbers: (E,) what `episode_index` calls each.
        lengths: (E,) rows of each, as stated.
        first: (E,) row that each begins with, as stated, or None.
        data: files with the rows, in their order.
        clips: key of a film -> clip of each episode.
        tasks: `task_index` -> the task in words.
        source: the file or folder that says so, for messages.
    """

    numbers: Array
    lengths: Array
    first: Array | None
    data: tuple[Path, ...]
    clips: dict[str, list[Clip]]
    tasks: dict[int, str]
    source: Path


def read_listing(info: Info, films: Sequence[str]) -> Listing:
    """Return the episodes of a data set, with the clips of some of its films.

    Raises:
        LaminarError: a file of `meta` is missing or damaged, or its episodes contradict `info.json`.
    """
    listing = _version_2(info, films) if info.version == 2 else _version_3(info, films)
    for name, found in (("total_episodes", len(listing.numbers)), ("total_frames", int(listing.lengths.sum()))):
        if info.totals.get(name, found) != found:
            raise LaminarError(
                f"{info.file} says '{name}' {info.totals[name]}, and {listing.source} comes to {found}: they "
                "contradict each other; copy the folder meta again, with all of its files"
            )
    if len(listing.numbers) == 0:
        raise LaminarError(f"{info.folder}: no episodes, {listing.source.name} lists none; record some first")
    twice = np.flatnonzero(np.diff(np.sort(listing.numbers)) == 0)
    if len(twice) or (listing.lengths < 1).any():
        raise LaminarError(
            f"{listing.source}: an episode is listed twice, or has no frames; copy the folder meta again"
        )
    return listing


def _version_2(info: Info, films: Sequence[str]) -> Listing:
    source = info.folder / "meta" / "episodes.jsonl"
    pairs = [(_number(row, "episode_index", source), _number(row, "length", source)) for row in _lines(source)]
    numbers, lengths = np.array(pairs, np.int64).reshape(-1, 2).T
    file = info.folder / "meta" / "tasks.jsonl"
    tasks = {_number(row, "task_index", file): str(row.get("task", "")) for row in _lines(file)}

    def place(which: str, number: int, **more: str) -> Path:
        return info.place(which, episode_chunk=number // info.chunks_size, episode_index=number, **more)

    data = tuple(place("data_path", number) for number in numbers.tolist())
    clips = {key: [Clip(place("video_path", number, video_key=key)) for number in numbers.tolist()] for key in films}
    return Listing(numbers, lengths, None, data, clips, tasks, source)


def _version_3(info: Info, films: Sequence[str]) -> Listing:
    source = info.folder / "meta" / "episodes"
    files = sorted(source.rglob("*.parquet"))
    if not files:
        raise LaminarError(f"{source}: no Parquet files, which tell where episodes lie; copy the data set again")
    parts = [_episodes(file, films) for file in files]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows = {name: value[np.argsort(rows["episode_index"], kind="stable")] for name, value in rows.items()}

    def places(which: str, prefix: str, **more: str) -> list[Path]:
        pairs = zip(rows[f"{prefix}/chunk_index"].tolist(), rows[f"{prefix}/file_index"].tolist(), strict=True)
        known = {pair: info.place(which, chunk_index=pair[0], file_index=pair[1], **more) for pair in set(pairs)}
        pairs = zip(rows[f"{prefix}/chunk_index"].tolist(), rows[f"{prefix}/file_index"].tolist(), strict=True)
        return [known[pair] for pair in pairs]

    named = places("data_path", "data")
    clips = {
        key: [
            Clip(file, start)
            for file, start in zip(
                places("video_path", f"videos/{key}", video_key=key),
                rows[f"videos/{key}/from_timestamp"].tolist(),
                strict=True,
            )
        ]
        for key in films
    }
    for key in films:
        _check_clips(rows, key, info.rate_hz, source)
    return Listing(
        rows["episode_index"],
        rows["length"],
        rows.get("dataset_from_index"),
        _data_files(info, named),
        clips,
        _tasks(info.folder / "meta" / "tasks.parquet"),
        source,
    )


def _episodes(file: Path, films: Sequence[str]) -> dict[str, Array]:
    """Return the columns of one file of episodes that matter; it has those of statistics besides."""
    table = open_table(file)
    names = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    names += ["dataset_from_index"] if "dataset_from_index" in table.schema_arrow.names else []
    times = [f"videos/{key}/{end}_timestamp" for key in films for end in ("from", "to")]
    names += [f"videos/{key}/{which}_index" for key in films for which in ("chunk", "file")]
    found = read_columns(file, [*names, *times], table)
    rows = {name: as_array(found[name], (), name, file) for name in [*names, *times]}
    for name in names:
        if rows[name].dtype.kind not in "iu" or (rows[name] < 0).any():
            raise LaminarError(f"{file}: '{name}' holds other than whole numbers from 0; copy it again")
    for name in times:
        if not np.isfinite(rows[name]).all() or (rows[name] < 0).any():
            raise LaminarError(f"{file}: '{name}' holds values that are no times in seconds; copy it again")
    return {name: value.astype(np.float64 if name in times else np.int64) for name, value in rows.items()}


def _check_clips(rows: dict[str, Array], key: str, rate_hz: float, source: Path) -> None:
    """Raise where a clip is not as long as its episode, or two episodes share frames of a film."""
    start, stop = rows[f"videos/{key}/from_timestamp"], rows[f"videos/{key}/to_timestamp"]
    lengths, numbers = rows["length"] / rate_hz, rows["episode_index"]
    odd = np.flatnonzero(np.abs(stop - start - lengths) > 0.5 / rate_hz)
    if len(odd):
        raise LaminarError(
            f"{source}: episode {numbers[odd[0]]} has {rows['length'][odd[0]]} frames, but its clip of '{key}' lasts "
            f"{stop[odd[0]] - start[odd[0]]:.3f} s at {rate_hz:g} Hz; copy the folder meta again, or convert it anew"
        )
    places = (start, rows[f"videos/{key}/file_index"], rows[f"videos/{key}/chunk_index"])
    order = np.lexsort(places)
    same = np.all([np.diff(place[order]) == 0 for place in places[1:]], axis=0)
    shared = np.flatnonzero(same & (np.diff(start[order]) < lengths[order][:-1] - 0.5 / rate_hz))
    if len(shared):
        one, other = sorted(numbers[order][shared[0] : shared[0] + 2].tolist())
        raise LaminarError(
            f"{source}: episodes {one} and {other} share frames of the same file of '{key}'; convert the data set anew"
        )


def _data_files(info: Info, named: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files with rows: those that are named, and further ones beside them.

    Boundary episodes may be said to lie in the file before their own, so that the last file is not named at all.
    """
    present = set((info.folder / "data").rglob("*.parquet"))
    return tuple(sorted(present | set(named), key=lambda file: [int(part) for part in _DIGITS.findall(str(file))]))


def _tasks(file: Path) -> dict[int, str]:
    table = open_table(file)
    words = [name for name in _WORDS if name in table.schema_arrow.names]
    if not words:
        raise LaminarError(f"{file}: no column with the tasks in words ({table.schema_arrow.names}); copy it again")
    found = read_columns(file, [words[0], "task_index"], table)
    index = as_array(found["task_index"], (), "task_index", file).tolist()
    return {int(number): str(text) for number, text in zip(index, as_words(found[words[0]], "task", file), strict=True)}


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one in every line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise LaminarError(f"{file}: missing or not readable ({error.strerror}); copy the data set again") from error
    except ValueError as error:
        raise LaminarError(f"{file}: no text in UTF-8; copy it again") from error
    for number, line in enumerate(lines, 1):
        try:
            row: Any = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            raise LaminarError(f"{file}: line {number} is no JSON; copy it again") from error
        if isinstance(row, dict):
            yield row
        elif line.strip():
            raise LaminarError(f"{file}: line {number} is no JSON object; copy it again")


def _number(row: dict[str, Any], name: str, file: Path) -> int:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < math.inf or value > 2**40:
        raise LaminarError(f"{file}: '{name}' is {value!r}, expected a whole number from 0; copy it again")
    return value
