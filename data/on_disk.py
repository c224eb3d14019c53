"""Arrays that stay on disk: chosen rows of memory-mapped files or films, read where they are used and not before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Source(Protocol):
    """What rows are read from: a memory-mapped array, or whatever makes rows when it is asked for some.

    Attributes:
        shape: (N, ...).
    """

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Array, /) -> Array:
        """Return (R, ...) for the numbers of R rows, in any order and maybe some of them twice."""
        ...


class OnDisk:
    """Rows of sources, used like one array (N, ...).

    An index along the first axis gives another `OnDisk` without reading anything; `read`, a single number as index, or
    numpy itself (`np.asarray`) reads. Sources are laid end to end, and `rows` counts through them.
    """

    def __init__(self, sources: Sequence[Source], rows: Array | None = None) -> None:
        """Take sources of the same type and shape a row, and the rows (N,) of them; None is all rows."""
        self.sources = list(sources)
        self._bounds = np.cumsum([0, *(len(source) for source in self.sources)])
        self.rows = np.arange(self._bounds[-1]) if rows is None else rows
        self.dtype = self.sources[0].dtype
        self.shape = (len(self.rows), *self.sources[0].shape[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        rows = self.rows[index]
        return OnDisk(self.sources, rows) if rows.ndim else self._read(rows[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        values = self._read(self.rows)
        return values if dtype is None else values.astype(dtype, copy=False)

    def read(self, index: Array) -> Array:
        """Return the rows with the given indices: (..., *row) for an index of shape (...)."""
        return self._read(self.rows[index.reshape(-1)]).reshape(*index.shape, *self.shape[1:])

    def _read(self, rows: Array) -> Array:
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        source_of = np.searchsorted(self._bounds, rows, side="right") - 1
        for number, source in enumerate(self.sources):
            mine = np.flatnonzero(source_of == number)
            if len(mine) == len(rows) and isinstance(source, np.ndarray):
                np.take(source, rows - self._bounds[number], axis=0, out=values, mode="clip")  # in place, unbuffered
            elif len(mine):
                values[mine] = source[rows[mine] - self._bounds[number]]
        return values


def is_on_disk(value: Array) -> bool:
    """Tell whether an array is one that is read only where it is used."""
    return isinstance(value, OnDisk)


def on_disk(sources: Sequence[Source], rows: Array | None = None) -> Array:
    """Return an `OnDisk` under the type of what it stands in for."""
    return cast(Array, OnDisk(sources, rows))


def leave_on_disk(value: Array) -> Array:
    """Return a memory-mapped array of images (uint8) as one that is read where it is used; any other as it is."""
    images = isinstance(value, np.memmap) and value.ndim > 2 and value.dtype == np.uint8
    return on_disk([value]) if images else value


def join(parts: Sequence[Array]) -> Array:
    """Return the rows of all parts, one part after the other; on disk if any part is."""
    if not any(isinstance(part, OnDisk) for part in parts):
        return np.concatenate(parts)
    sources: list[Source] = []
    rows: list[Array] = []
    for part in parts:
        first = sum(len(source) for source in sources)
        sources += part.sources if isinstance(part, OnDisk) else [part]
        rows.append(first + (part.rows if isinstance(part, OnDisk) else np.arange(len(part))))
    return on_disk(sources, np.concatenate(rows))
