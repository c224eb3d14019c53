"""Columns of Parquet files as arrays, and what is said where a file is missing, damaged or lacks one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...errors import LaminarError

Array = NDArray[Any]
DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, IndexError)


def open_table(file: Path) -> Any:
    """Return the opened file, of which only the description was read.

    Raises:
        LaminarError: it is missing or damaged.
    """
    if not file.is_file():
        raise LaminarError(f"{file}: missing; copy the data set again")
    try:
        return pq.ParquetFile(file)
    except DAMAGE as error:
        raise damaged(file, error) from error


def read_columns(file: Path, names: Sequence[str], table: Any = None) -> Any:
    """Return a table of some columns of a file.

    Raises:
        LaminarError: it is missing or damaged, or lacks one of them.
    """
    opened = open_table(file) if table is None else table
    known = opened.schema_arrow.names
    for name in names:
        if name not in known:
            raise LaminarError(f"{file}: no column '{name}' (there are {sorted(known)}); copy the file again")
    try:
        found = opened.read(columns=list(names), use_threads=False)
        found.validate(full=True)
    except DAMAGE as error:
        raise damaged(file, error) from error
    return found


def as_array(column: Any, shape: tuple[int, ...], where: str, file: Path) -> Array:
    """Return (N, *shape), or (N,) for an empty shape, from a column of numbers or of lists of them.

    Raises:
        LaminarError: a value is missing, is no number, or a row has another number of them.
    """
    rows = len(column)
    try:
        while pa.types.is_nested(column.type):
            if column.null_count or pa.types.is_struct(column.type) or pa.types.is_map(column.type):
                raise LaminarError(f"{file}: '{where}' holds {column.type}, or rows without a value; record it again")
            column = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
        if column.null_count:
            raise LaminarError(f"{file}: '{where}' lacks {column.null_count} values; repair or remove these rows")
        values = np.asarray(column.to_numpy())
    except DAMAGE as error:
        raise damaged(file, error) from error
    if values.dtype.kind not in "fiub":
        raise LaminarError(f"{file}: '{where}' holds {column.type}, expected numbers; record it again")
    if len(values) != rows * int(np.prod(shape, dtype=np.int64)):
        raise LaminarError(
            f"{file}: '{where}' holds {len(values)} numbers in {rows} rows, meta/info.json says {list(shape)} a row"
        )
    return values.reshape(rows, *shape)


def as_words(column: Any, where: str, file: Path) -> list[Any]:
    """Return the values of a column as Python has them.

    Raises:
        LaminarError: the file is damaged.
    """
    try:
        return column.to_pylist()
    except DAMAGE as error:
        raise LaminarError(f"{file}: '{where}' is damaged ({type(error).__name__}); copy the file again") from error


def damaged(file: Path, error: BaseException) -> LaminarError:
    """Return what to say of a damaged file."""
    reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
    return LaminarError(f"{file}: cut off or damaged Parquet file ({reason}); copy it again")
