"""Whether what an array shows is stored anywhere: HDF5 reads zeros where nothing was ever written.

Chunks that a recorder allocated and did not live to fill, arrays that were made and never written, virtual arrays whose
source has moved or shrunk: all of them read as zeros without a word.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LaminarError

_UNLIMITED = 2**63  # how HDF5 counts what has no end
_DEEPEST = 4  # virtual arrays of virtual arrays


@dataclass(frozen=True)
class Unwritten:
    """Rows (first axis) of an array that are not stored anywhere, whole or in part.

    Attributes:
        rows: how many the array has, 1 of a scalar.
        count: how many of them were never written.
        first: number of the first one that was not.
        last: number of the last one.
    """

    rows: int
    count: int
    first: int
    last: int

    def __str__(self) -> str:
        """Return the finding as a part of a sentence."""
        whole = self.last - self.first + 1 == self.count
        which = f"rows {self.first} to {self.last}" if whole else f"the first of them row {self.first}"
        return f"{self.count} of {self.rows} rows were never written ({which})"


def unwritten(dataset: Any, path: Path, depth: int = 0) -> Unwritten | None:
    """Return which rows of an array were never written; None, as usual, where all were.

    Raises:
        LaminarError: a file that an array takes its values from is missing or too short.
    """
    import h5py

    low_level: Any = h5py.h5d  # pyright: ignore[reportAttributeAccessIssue]
    allocated = dataset.id.get_space_status() == low_level.SPACE_STATUS_ALLOCATED
    if allocated and (dataset.id.get_offset() is not None or _is_chunked(dataset)):
        return None  # the usual arrays, of which virtual and external ones, "allocated" as well, are told apart
    if not dataset.size:
        return None
    if dataset.chunks is not None:
        return _unwritten_chunks(dataset)
    if dataset.is_virtual:
        _check_sources(dataset, path, depth)
    elif dataset.external:
        _check_external(dataset, path)
    elif not allocated:
        rows = dataset.shape[0] if dataset.shape else 1
        return Unwritten(rows, rows, 0, rows - 1)
    return None


def _is_chunked(dataset: Any) -> bool:
    """Tell whether an array lies in chunks, in a third of the time that its list of properties takes."""
    try:
        return dataset.id.get_num_chunks() > 0
    except RuntimeError:
        return False


def _unwritten_chunks(dataset: Any) -> Unwritten | None:
    grid = [-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    count = dataset.id.get_num_chunks()
    if count >= math.prod(grid):
        return None
    long, rows = dataset.chunks[0], dataset.shape[0]
    begins = [dataset.id.get_chunk_info(number).chunk_offset[0] // long for number in range(count)]
    blocks, stored = np.unique(np.array(begins, np.int64), return_counts=True)
    whole = blocks[stored >= math.prod(grid[1:])]  # ascending numbers of the blocks of rows that are all there
    place = np.arange(len(whole))
    first = int(np.count_nonzero(np.logical_and.accumulate(whole == place)))
    last = grid[0] - 1 - int(np.count_nonzero(np.logical_and.accumulate(whole[::-1] == grid[0] - 1 - place)))
    overhang = grid[0] * long - rows if last == grid[0] - 1 else 0
    return Unwritten(rows, (grid[0] - len(whole)) * long - overhang, first * long, min((last + 1) * long, rows) - 1)


def _check_sources(dataset: Any, path: Path, depth: int) -> None:
    """Raise unless all sources of a virtual array are there, and give it all of its values."""
    import h5py

    sources = dataset.virtual_sources()
    for source in sources:
        named = source.file_name.replace("%%", "%")
        file = path if named == "." else _find(named.replace("%b", "0"), path)
        where = f"'{dataset.name}' takes its values from '{source.dset_name}' in {named}"
        if file is None:
            raise LaminarError(f"{path}: {where}, which is missing; put that file beside this one")
        with h5py.File(file, "r") as opened:
            name = source.dset_name.replace("%b", "0")
            if name not in opened:
                raise LaminarError(f"{path}: {where}, and there is no such array; copy that file again")
            _check_source(opened[name], source, file, f"{path}: {where}", depth)
    lacking = 0 if any(map(_is_open, sources)) else _uncovered(dataset, sources)
    if lacking:
        raise LaminarError(
            f"{path}: '{dataset.name}' is virtual and has no source for {lacking} of its {len(dataset)} rows; write it "
            "anew"
        )


def _uncovered(dataset: Any, sources: Any) -> int:
    """Return how many rows of a virtual array no source reaches."""
    covered = np.zeros(len(dataset), np.bool_)
    for source in sources:
        first, last = source.vspace.get_select_bounds()
        covered[first[0] : last[0] + 1] = True
    return int(np.count_nonzero(~covered))


def _check_source(array: Any, source: Any, file: Path, where: str, depth: int) -> None:
    import h5py

    if _is_open(source):
        short = False
    elif source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        short = array.size < source.vspace.get_select_npoints()
    else:
        _, last = source.src_space.get_select_bounds()
        short = len(last) != array.ndim or any(size <= place for size, place in zip(array.shape, last, strict=True))
    if short:
        raise LaminarError(f"{where}, which has only shape {array.shape}; copy that file again")
    if depth >= _DEEPEST:
        raise LaminarError(f"{where}, which is virtual in turn, {_DEEPEST} deep; write a plain array")
    lacking = unwritten(array, file, depth + 1)
    if lacking is not None:
        raise LaminarError(f"{where}, where {lacking}; record it again")


def _is_open(source: Any) -> bool:
    """Tell whether a source's selection grows with it."""
    try:
        return source.vspace.get_select_npoints() >= _UNLIMITED
    except (OverflowError, RuntimeError, ValueError):
        return True


def _check_external(dataset: Any, path: Path) -> None:
    for name, offset, size in dataset.external:
        file = next(
            (place for place in (Path(os.fsdecode(name)), path.parent / os.fsdecode(name)) if place.is_file()), None
        )
        needed = offset + min(size, dataset.nbytes)
        if file is None or file.stat().st_size < needed:
            state = "missing" if file is None else f"shorter than {needed} bytes"
            raise LaminarError(
                f"{path}: '{dataset.name}' takes its values from {os.fsdecode(name)}, which is {state}; copy that file "
                "beside this one"
            )


def _find(name: str, path: Path) -> Path | None:
    """Return the file where HDF5 looks for it."""
    prefix = os.environ.get("HDF5_VDS_PREFIX", "").replace("${ORIGIN}", str(path.parent))
    places = [Path(prefix, name)] if prefix else []
    places += [Path(name), path.parent / name, path.parent / Path(name).name]
    return next((place for place in places if place.is_file()), None)
