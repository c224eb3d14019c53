"""The rows of a data set: its numbers, and where its episodes end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .info import BOOKKEEPING, Info
from .listing import Listing
from .parquet import as_array, open_table, read_columns

Array = NDArray[Any]
_NEEDED = ("episode_index", "frame_index")


@dataclass(frozen=True)
class Rows:
    """All rows, N in E episodes.

    Attributes:
        values: feature -> (N, *shape), the columns of bookkeeping among them.
        ends: (E,) exclusive, where `episode_index` changes.
        files: Parquet files, and the number of rows in each.
        unknown: columns that `info.json` does not describe.
    """

    values: dict[str, Array]
    ends: Array
    files: tuple[tuple[Path, int], ...]
    unknown: tuple[str, ...]

    @property
    def frame(self) -> Array:
        """(N,) number of each row in its episode."""
        return self.values["frame_index"]


def read_rows(info: Info, listing: Listing, numeric: Sequence[str]) -> Rows:
    """Read numeric features and the bookkeeping of all rows.

    Raises:
        LaminarError: a file is missing or damaged or lacks a column, or the rows contradict the list of episodes.
    """
    parts: list[dict[str, Array]] = []
    unknown: set[str] = set()
    for file in listing.data:
        table = open_table(file)
        columns = table.schema_arrow.names
        missing = [key for key, one in info.features.items() if one.dtype != "video" and key not in columns]
        if missing:
            raise LaminarError(
                f"{file}: no column '{missing[0]}', which meta/info.json describes (there are {sorted(columns)}); copy "
                "the file again"
            )
        unknown |= {name for name in columns if name not in info.features and name not in BOOKKEEPING}
        there = [name for name in BOOKKEEPING if name in columns or name in _NEEDED]
        names = list(dict.fromkeys([*there, *numeric]))
        found = read_columns(file, names, table)
        shapes = {name: () if name in BOOKKEEPING else info.features[name].shape for name in names}
        parts.append({name: as_array(found[name], shapes[name], name, file) for name in names})
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    values = {name: np.concatenate([part[name] for part in parts]) for name in shared}
    counts = [len(part["episode_index"]) for part in parts]
    ends = _ends(values, listing, info)
    return Rows(values, ends, tuple(zip(listing.data, counts, strict=True)), tuple(sorted(unknown)))


def _ends(values: dict[str, Array], listing: Listing, info: Info) -> Array:
    """Return (E,) the ends of the episodes by the rows themselves, held against the list of episodes.

    Indices of rows in `meta` are not asked: converters have been known to scramble them.
    """
    episode, frame = (_whole(values[name], name, info) for name in _NEEDED)
    change = np.flatnonzero(np.diff(episode)) + 1
    ends = np.append(change, len(episode)) if len(episode) else change
    found = episode[ends - 1]
    if (np.diff(found) <= 0).any():
        place = int(np.flatnonzero(np.diff(found) <= 0)[0])
        raise LaminarError(
            f"{info.folder}: rows of episode {found[place]} come before those of episode {found[place + 1]}, "
            "'episode_index' has to ascend; sort the rows, or convert the data set anew"
        )
    _check_same(found, np.diff(ends, prepend=0), listing)
    expected = np.arange(len(episode)) - np.repeat(ends - np.diff(ends, prepend=0), np.diff(ends, prepend=0))
    odd = np.flatnonzero(frame != expected)
    if len(odd):
        raise LaminarError(
            f"{info.folder}: 'frame_index' is {frame[odd[0]]} in row {odd[0]}, which is number {expected[odd[0]]} of "
            f"episode {episode[odd[0]]}; rows are missing or doubled, copy the data set again"
        )
    return ends


def _check_same(numbers: Array, lengths: Array, listing: Listing) -> None:
    """Raise unless the rows have the episodes that are listed, as long as they are listed."""
    absent = np.setdiff1d(listing.numbers, numbers)
    if len(absent):
        raise LaminarError(
            f"{listing.source}: episode {absent[0]} is listed, but no row in {listing.data[0].parent.parent} is of it "
            f"({len(absent)} such episodes); copy the folder data again, with all of its files"
        )
    stranger = np.setdiff1d(numbers, listing.numbers)
    if len(stranger):
        raise LaminarError(
            f"{listing.source}: rows are of episode {stranger[0]}, which is not listed ({len(stranger)} such "
            "episodes); copy the folder meta again, with all of its files"
        )
    stated = listing.lengths[np.argsort(listing.numbers)]
    odd = np.flatnonzero(stated != lengths)
    if len(odd):
        raise LaminarError(
            f"{listing.source} says 'length' {stated[odd[0]]} of episode {numbers[odd[0]]}, whose 'episode_index' is "
            f"in {lengths[odd[0]]} rows: they contradict each other; copy the data set again"
        )


def _whole(values: Array, name: str, info: Info) -> Array:
    if values.dtype.kind not in "iu":
        raise LaminarError(f"{info.folder}: '{name}' holds {values.dtype}, expected whole numbers; copy it again")
    return values.astype(np.int64)
