"""Observations in rows: numbers in memory, pictures in a file without a name that is gone when nobody needs it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..on_disk import on_disk

Array = NDArray[Any]


class Rows:
    """Rows of each key, added one by one."""

    def __init__(self) -> None:
        """Have none."""
        self._numbers: dict[str, list[Array]] = {}
        self._pictures: dict[str, tuple[IO[bytes], tuple[int, ...]]] = {}
        self._count = 0

    def add(self, observation: Mapping[str, Array]) -> int:
        """Add a row and return its number.

        Raises:
            LaminarError: there is no room for the pictures.
        """
        for key, value in observation.items():
            if value.dtype != np.uint8:
                self._numbers.setdefault(key, []).append(value)
                continue
            if key not in self._pictures:
                self._pictures[key] = (tempfile.TemporaryFile(), value.shape)  # noqa: SIM115
            try:
                self._pictures[key][0].write(np.ascontiguousarray(value).data)
            except OSError as error:
                raise LaminarError(
                    f"{tempfile.gettempdir()}: no room for the pictures of a bag ({error.strerror}); let TMPDIR name a "
                    "folder that has"
                ) from error
        self._count += 1
        return self._count - 1

    def arrays(self, rows: Array) -> dict[str, Array]:
        """Return key -> (len(rows), ...); pictures are read where they are used."""
        found = {key: np.stack(values)[rows] for key, values in self._numbers.items()}
        for key, (file, shape) in self._pictures.items():
            file.flush()
            stored: Array = np.memmap(file, np.uint8, "r", shape=(self._count, *shape))
            found[key] = on_disk([stored], rows)
        return found
