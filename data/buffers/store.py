"""Reading the arrays of a zarr store, with errors that say what is wrong and where; needs the extra `zarr`."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .blosc import check_blosc
from .files import Files

Array = NDArray[Any]
_INSTALL = "pip install 'laminar[zarr]'"
_JPEG_XL = "imagecodecs"
_UNPICKLES = "pickle"


class Store:
    """The arrays of an open store. What was read is noted, so that `unread` tells what nobody read."""

    def __init__(self, files: Files, backing: Any) -> None:
        """Take the files, and what zarr reads them through."""
        self.path, self._files, self._backing = files.path, files, backing
        self._names = files.arrays()
        self._known: set[str] = {""}  # arrays and groups that were asked for
        self._told: set[str] = set()  # attributes of the root
        self.notes: list[str] = []

    def below(self, group: str) -> list[str]:
        """Return the names of all arrays of numbers in a group, without the group's, sorted."""
        self._known.add(group)
        inside = [name for name in self._names if name.startswith(f"{group}/")]
        return [name[len(group) + 1 :] for name in inside if self._open(name).dtype.kind in "biuf"]

    def __contains__(self, name: str) -> bool:
        """Tell whether there is an array of this name."""
        return name in self._names

    def stored(self, name: str, sparse: int = 0) -> Any:
        """Return an array of zarr, whose rows are read where they are used.

        Args:
            name: of the array.
            sparse: of an array of at most so many numbers a row, chunks that are not there count as the fill value,
                with a note.

        Raises:
            LaminarError: it is missing, of no numbers, or lacks chunks.
        """
        if name not in self._names:
            raise LaminarError(f"{self.path}: missing '{name}' (there are {self._names})")
        array = self._open(name)
        if array.dtype.kind not in "biuf" or not array.shape:
            raise LaminarError(f"{self.path}: '{name}' holds {array.dtype} {array.shape}, expected rows of numbers")
        with self.reading(name):
            lacking = int(array.nchunks) - int(array.nchunks_initialized)
        if lacking and math.prod(array.shape[1:]) > sparse:
            raise LaminarError(
                f"{self.path}: '{name}': {lacking} of {array.nchunks} chunks are not there, and zarr makes up "
                f"{array.fill_value} in them; copy them again, or write them (write_empty_chunks=True)"
            )
        if lacking:
            self.notes.append(
                f"'{name}': {lacking} of {array.nchunks} chunks are not there and count as {array.fill_value}"
            )
        self._known.update([name, *_parents(name)])
        return array

    def read(self, name: str, sparse: int = 0) -> Array:
        """Return a whole array."""
        array = self.stored(name, sparse)
        with self.reading(name):
            check_blosc(self._files, name)
            return np.asarray(array[...])

    def blocks(self, name: str, array: Any, rows: int) -> Iterator[Array]:
        """Yield the rows of an array that `stored` returned, about so many at once and whole chunks."""
        with self.reading(name):
            check_blosc(self._files, name)
        step = max(1, rows // array.chunks[0]) * array.chunks[0]
        for first in range(0, array.shape[0], step):
            with self.reading(name):
                block = np.asarray(array[first : first + step])
            yield block

    def files_of(self, name: str) -> list[Path]:
        """Return the files that an array is made of."""
        return self._files.of(name)

    def attribute(self, name: str) -> Any:
        """Return an attribute of the root, None where it is absent."""
        self._told.add(name)
        return self._files.attributes().get("", {}).get(name)

    def unread(self) -> list[str]:
        """Return all notes, and a sentence each about arrays and attributes that nobody read, if there are any."""
        arrays = [f"'{name}'" for name in self._names if name not in self._known]
        attributes = [
            f"'{node or '/'}@{key}'"
            for node, found in self._files.attributes().items()
            for key in sorted(found)
            if (node in self._known and (node or key not in self._told))
        ]
        listed = {"arrays": arrays, "attributes": attributes}
        return self.notes + [f"not read, {what}: {', '.join(found)}" for what, found in listed.items() if found]

    def _open(self, name: str) -> Any:
        import zarr

        _check_codecs(self.path, name, self._files.description(name))
        with self.reading(name):
            library: Any = zarr
            return library.open_array(self._backing, mode="r", path=self._files.top + name)

    @contextmanager
    def reading(self, name: str) -> Generator[None]:
        """Turn what zarr and its codecs raise into a line about an array."""
        try:
            yield
        except LaminarError:
            raise
        except MemoryError as error:
            raise LaminarError(f"{self.path}: '{name}' does not fit into memory") from error
        except Exception as error:  # codecs have errors of their own, and no class in common
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise LaminarError(
                f"{self.path}: '{name}' cannot be read, it is damaged ({reason}); copy it again"
            ) from error


@contextmanager
def open_store(files: Files) -> Generator[Store]:
    """Open a store for reading.

    Raises:
        LaminarError: zarr is missing or too old, or the archive is damaged.
    """
    if find_spec("zarr") is None:
        raise LaminarError(f"{files.path}: reading zarr needs zarr: {_INSTALL}")
    import zarr
    from zarr import storage

    library: Any = zarr
    stores: Any = storage
    if files.version == 3 and int(library.__version__.split(".")[0]) < 3:
        raise LaminarError(
            f"{files.path}: a store of zarr's format 3, and zarr {library.__version__} is installed; it needs zarr 3, "
            "which needs Python 3.11 or newer"
        )
    if files.path.is_dir():
        yield Store(files, str(files.path))
        return
    try:
        backing: Any = stores.ZipStore(str(files.path), mode="r")
    except Exception as error:  # of zipfile or the system
        raise LaminarError(f"{files.path}: cut off or damaged zip archive ({error}); copy it again") from error
    try:
        yield Store(files, backing)
    finally:
        backing.close()


def _check_codecs(path: Path, name: str, description: dict[str, Any]) -> None:
    """Refuse what would unpickle, and register what comes with a package of its own."""
    used = {key: description.get(key) for key in ("filters", "compressor", "codecs", "object_codec")}
    text = json.dumps(used).lower()
    if _UNPICKLES in text:
        raise LaminarError(f"{path}: '{name}' is pickled, and nothing is unpickled; write it as numbers")
    if _JPEG_XL not in text:
        return
    if find_spec(_JPEG_XL) is None:
        codec = next(word for word in text.split('"') if word.startswith(_JPEG_XL))
        raise LaminarError(
            f"{path}: '{name}' is compressed by {codec}, which needs imagecodecs: pip install imagecodecs"
        )
    from imagecodecs.numcodecs import register_codecs  # pyright: ignore[reportMissingImports]

    register_codecs(verbose=False)


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
