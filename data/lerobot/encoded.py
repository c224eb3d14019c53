"""Pictures that a data set keeps in Parquet, each as the bytes of a PNG or JPEG file, as one array (N, H, W, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..hdf5.pictures import decode_one
from .info import Stored
from .parquet import as_words, open_table, read_columns
from .recent import Recent

Array = NDArray[Any]
_GRAY, _COLOR, _ALPHA = 1, 3, 4  # channels


class Encoded:
    """A source of `OnDisk`: pictures in the rows of Parquet files, of which the row groups read last are kept.

    Attributes:
        shape: (N, H, W, 3).
    """

    def __init__(self, stored: Stored, files: Sequence[tuple[Path, int]], recent: Recent) -> None:
        """Take the feature, the files with the number of rows in each, and room for what was read.

        Raises:
            LaminarError: a file is missing or damaged, or the column holds something else.
        """
        self._key, self._recent = stored.key, recent
        self._files = [file for file, _ in files]
        self._lock = Lock()
        groups: list[tuple[int, int, int]] = []  # file, group in it, rows
        for number, file in enumerate(self._files):
            table = open_table(file)
            _check_column(table, stored.key, file)
            counts = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]
            groups += [(number, group, count) for group, count in enumerate(counts)]
        self._groups = [(number, group) for number, group, _ in groups]
        self._bounds = np.cumsum([0, *(count for _, _, count in groups)])
        self.shape = (int(self._bounds[-1]), *stored.shape)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Array) -> Array:
        """Return the pictures (R, H, W, 3) of some rows (R,)."""
        rows = np.asarray(rows)
        pictures = np.empty((len(rows), *self.shape[1:]), np.uint8)
        group_of = np.searchsorted(self._bounds, rows, side="right") - 1
        for place in np.argsort(group_of, kind="stable").tolist():
            group, row = int(group_of[place]), int(rows[place])
            content = self._group(group)[row - int(self._bounds[group])]
            pictures[place] = self._picture(content, row, self._files[self._groups[group][0]])
        return pictures

    def _group(self, group: int) -> list[Any]:
        """Return the bytes of every picture in a row group."""
        file, number = self._files[self._groups[group][0]], self._groups[group][1]
        with self._lock:  # two threads would read it twice
            found = self._recent.get((file, self._key, number))
            if found is None:
                column = read_columns(file, [self._key], _OneGroup(open_table(file), number))[self._key]
                found = [(row or {}).get("bytes") for row in as_words(column, self._key, file)]
                self._recent.put((file, self._key, number), found, sum(len(content or b"") for content in found))
            return found

    def _picture(self, content: bytes | None, row: int, file: Path) -> Array:
        if content is None:
            raise LaminarError(
                f"{file}: picture {row} of '{self._key}' is not inside, only its path; write the data set with its "
                "pictures inside the Parquet files"
            )
        picture = decode_one(content, row, self._key, file)
        if picture.dtype != np.uint8:
            raise LaminarError(f"{file}: picture {row} of '{self._key}' has 16 bits, it is no picture; leave it out")
        if picture.shape[2] == _GRAY:
            picture = picture.repeat(_COLOR, axis=2)
        picture = picture[:, :, :_COLOR] if picture.shape[2] == _ALPHA else picture
        if picture.shape != self.shape[1:]:
            raise LaminarError(
                f"{file}: picture {row} of '{self._key}' has shape {picture.shape}, meta/info.json says "
                f"{self.shape[1:]}; repair the one that is wrong"
            )
        return picture


class _OneGroup:
    """One row group of an opened file, with the methods of a file."""

    def __init__(self, table: Any, group: int) -> None:
        self._table, self._group = table, group
        self.schema_arrow = table.schema_arrow

    def read(self, columns: list[str], use_threads: bool) -> Any:
        return self._table.read_row_group(self._group, columns=columns, use_threads=use_threads)


def _check_column(table: Any, key: str, file: Path) -> None:
    if key not in table.schema_arrow.names:
        raise LaminarError(f"{file}: no column '{key}', which meta/info.json describes; copy the file again")
    kind = table.schema_arrow.field(key).type
    if "bytes" not in str(kind):
        raise LaminarError(f"{file}: '{key}' holds {kind}, expected pictures as bytes; record it again")
