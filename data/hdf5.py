"""Opening HDF5 files and reading their arrays with errors that say what is wrong and where."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError, nearest
from .heaps import endless_heap

Array = NDArray[Any]
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def has_signature(path: Path) -> bool:
    """Tell whether a file begins like HDF5, damaged or not."""
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


@contextmanager
def open_hdf5(path: Path) -> Generator[Any]:
    """Open a file for reading; the value is an `h5py.File`.

    Raises:
        LaminarError: the file is not HDF5, or HDF5 that is cut off or damaged.
    """
    import h5py

    if not has_signature(path):
        raise LaminarError(f"{path}: not an HDF5 file")
    heap = endless_heap(path)
    if heap is not None:
        raise LaminarError(f"{path}: cut off or damaged HDF5 file (the heap at byte {heap} has no end); copy it again")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise LaminarError(f"{path}: cut off or damaged HDF5 file ({_one_line(error)}); copy it again") from error
    with file:
        try:
            yield file
        except (KeyError, OSError, RuntimeError) as error:
            # What h5py says of a damaged object table or a link that leads nowhere, whichever call meets it.
            if isinstance(error, KeyError) and "Unable to" not in str(error):
                raise
            message = f"{path}: damaged HDF5 file or a broken link inside it ({_one_line(error)}); copy it again"
            raise LaminarError(message) from error


def is_array(node: Any) -> bool:
    """Tell whether an HDF5 node is a dataset."""
    import h5py

    return isinstance(node, h5py.Dataset)


def is_group(node: Any) -> bool:
    """Tell whether an HDF5 node is a group."""
    import h5py

    return isinstance(node, h5py.Group)


def names(group: Any) -> list[str]:
    """Return the names in a group, sorted."""
    found = list(group)
    if not all(isinstance(name, str) for name in found):
        raise RuntimeError("a name is not text")  # `open_hdf5` reports it
    return sorted(found)


def _is_numeric(node: Any) -> bool:
    try:
        return node.dtype.kind in "biuf"
    except ValueError as error:
        raise RuntimeError("a type is damaged") from error


def numbered_groups(parent: Any, prefix: str) -> list[str]:
    """Return the names `<prefix><number>` of groups, in the order of their numbers ("demo_10" after "demo_9")."""
    found = [name for name in names(parent) if name.startswith(prefix) and name[len(prefix) :].isdecimal()]
    return sorted((name for name in found if is_group(parent[name])), key=lambda name: int(name[len(prefix) :]))


def read_array(group: Any, key: str, path: Path) -> Array:
    """Read one dataset of numbers, unchanged.

    Raises:
        LaminarError: the key is missing, a group, not numeric, or its bytes are damaged.
    """
    where = f"{group.name.rstrip('/')}/{key}"
    if key not in group:
        raise LaminarError(f"{path}: missing '{where}' (there are {names(group)}){nearest(key, names(group))}")
    node = group[key]
    if not is_array(node):
        raise LaminarError(f"{path}: '{where}' is a group, expected an array")
    if not _is_numeric(node):
        raise LaminarError(f"{path}: '{where}' holds {node.dtype}, expected numbers")
    try:
        return np.asarray(node[()])
    except OSError as error:
        message = f"{path}: '{where}' cannot be read, the file is damaged ({_one_line(error)}); copy it again"
        raise LaminarError(message) from error


def read_observations(group: Any, key: str, path: Path) -> dict[str, Array]:
    """Read one observation array as the key "observation", or a group's arrays by name; see `as_rows`.

    Raises:
        LaminarError: the group holds no numbers.
    """
    where = f"{group.name.rstrip('/')}/{key}"
    tree = read_tree(group, key, path)
    if not tree:
        raise LaminarError(f"{path}: '{where}' holds no arrays of numbers (JPEG or text is not supported)")
    return {name or "observation": as_rows(value, f"{where}/{name}", path) for name, value in tree.items()}


def read_tree(group: Any, key: str, path: Path) -> dict[str, Array]:
    """Read a dataset as {"": array}, or a group as {"a/b": array} in name order, numeric leaves only."""
    if key in group and is_group(group[key]):
        return {name: read_array(group[key], name, path) for name in numeric_keys(group[key])}
    return {"": read_array(group, key, path)}


def numeric_keys(group: Any, prefix: str = "") -> list[str]:
    """Return the paths of all numeric datasets below a group, in name order."""
    found: list[str] = []
    for name in names(group):
        node = group[name]
        if is_group(node):
            found += numeric_keys(node, f"{prefix}{name}/")
        elif is_array(node) and _is_numeric(node):
            found.append(f"{prefix}{name}")
    return found


def read_text(group: Any, key: str) -> str | None:
    """Read a string dataset, None when it is absent."""
    if key not in group or not is_array(group[key]):
        return None
    value: Any = group[key][()]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_column(array: Array, where: str, path: Path) -> Array:
    """Return (N,) from (N,) or (N, 1).

    Raises:
        LaminarError: any other shape.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise LaminarError(f"{path}: '{where}' has shape {array.shape}, expected one number a step")
    return array


def as_rows(array: Array, where: str, path: Path) -> Array:
    """Return at least two axes (N, ...), uint8 kept (images), every other type as float32.

    Raises:
        LaminarError: a scalar.
    """
    if array.ndim == 0:
        raise LaminarError(f"{path}: '{where}' is a single number, expected one row a step")
    array = array[:, None] if array.ndim == 1 else array
    if array.dtype == np.uint8 and array.ndim > 2:
        return array
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which `Episodes` refuses with key and row
        return array.astype(np.float32)


def as_actions(array: Array, where: str, path: Path) -> Array:
    """Return (N, A) float32.

    Raises:
        LaminarError: integer (discrete) actions, or more than two axes.
    """
    if array.dtype.kind != "f":
        raise LaminarError(f"{path}: '{where}' holds {array.dtype} (discrete actions), expected floating point")
    rows = as_rows(array, where, path)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise LaminarError(f"{path}: '{where}' has shape {array.shape}, expected (steps, width)")
    return rows


def check_rows(arrays: Mapping[str, Array], path: Path) -> int:
    """Return the common number of rows.

    Raises:
        LaminarError: two arrays differ, naming both keys and both lengths.
    """
    first, steps = next((name, array.shape[0] if array.ndim else 0) for name, array in arrays.items())
    for name, array in arrays.items():
        if array.ndim == 0:
            raise LaminarError(f"{path}: '{name}' is a single number, expected one row a step")
        if len(array) != steps:
            raise LaminarError(f"{path}: '{name}' has {len(array)} rows but '{first}' has {steps}")
    return steps


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
