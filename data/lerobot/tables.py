"""Parquet files of a LeRobot data set, written with pyarrow alone."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .features import Column

Array = NDArray[Any]
CHUNK = 1000  # files in a folder
DATA, EPISODES, TASKS = "data", "meta/episodes", "meta/tasks.parquet"
_MEGABYTE = 1 << 20
SIZE_MB = 100  # from which on a new file is begun


def place(number: int) -> tuple[int, int]:
    """Return chunk and file of the file with a number."""
    return divmod(number, CHUNK)


def file_of(number: int, suffix: str) -> str:
    """Return the path of a file below its folder: "chunk-000/file-000.parquet"."""
    chunk, file = place(number)
    return f"chunk-{chunk:03d}/file-{file:03d}{suffix}"


class DataFiles:
    """The rows of all episodes, one row group an episode, in files of bounded size."""

    def __init__(self, folder: Path) -> None:
        """Write below `data/` of a folder."""
        self._folder, self._writer, self._path = folder / DATA, None, folder
        self.number = 0

    def add(self, columns: Sequence[Column], rows: slice) -> int:
        """Write the rows of an episode and return the number of their file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        library: Any = pa
        table = library.table({column.name: _arrow(column, rows) for column in columns})
        if self._writer is not None and self._path.stat().st_size >= SIZE_MB * _MEGABYTE:
            self.close()
            self.number += 1
        if self._writer is None:
            self._path = self._folder / file_of(self.number, ".parquet")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer: Any = pq.ParquetWriter(str(self._path), table.schema)
        self._writer.write_table(table)
        return self.number

    def close(self) -> None:
        """Finish the last file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _arrow(column: Column, rows: slice) -> Any:
    import pyarrow as pa

    library: Any = pa
    values = np.asarray(column.values[rows])
    if column.is_picture:
        kept = [{"bytes": _png(pixels), "path": None} for pixels in values]
        return library.array(kept, library.struct([("bytes", library.binary()), ("path", library.string())]))
    flat = library.array(np.ascontiguousarray(values).reshape(-1))
    return flat if values.shape[1] == 1 else library.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _png(pixels: Array) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png", compress_level=1)
    return stream.getvalue()


def write_episode_table(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write what is known of each episode, one row each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    library: Any = pa
    path = folder / EPISODES / file_of(0, ".parquet")
    path.parent.mkdir(parents=True)
    pq.write_table(library.Table.from_pylist([row | _HERE for row in rows]), str(path))


_HERE = {f"{EPISODES}/chunk_index": 0, f"{EPISODES}/file_index": 0}


def write_tasks(folder: Path, tasks: Sequence[str]) -> None:
    """Write the tasks as pandas would: the sentence is the index, `task_index` the column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    library: Any = pa
    table = library.table({"task_index": np.arange(len(tasks)), "task": list(tasks)})
    whole = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    text = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"}
    about = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [one | {"metadata": None} for one in (whole, text)],
        "pandas_version": "2.0.0",
    }
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(about)}), str(folder / TASKS))
