"""Opening HDF5 files and reading their arrays with errors that say what is wrong and where."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError, nearest
from .account import Account
from .causes import missing_filter, one_line, plugins_loaded, why_not_opened, why_not_read
from .heaps import endless_heap
from .nodes import is_array, is_group, is_numeric
from .pictures import decode, holds_pictures, may_hold_pictures
from .storage import Unwritten, unwritten

Array = NDArray[Any]
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USER_BLOCKS = [512 << number for number in range(8)]  # where HDF5 looks for it besides


def has_signature(path: Path) -> bool:
    """Tell whether a file begins like HDF5, damaged or not; a block of its user may stand in front."""
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) == SIGNATURE:
            return True
        for place in _USER_BLOCKS:
            file.seek(place)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
    return False


@contextmanager
def open_hdf5(path: Path) -> Generator[Group]:
    """Open a file for reading; the value is its root.

    Raises:
        LaminarError: the file is not HDF5, is open for writing elsewhere, may not be read, or is cut off or damaged.
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
        raise LaminarError(f"{path}: {why_not_opened(error)}") from error
    with file:
        try:
            yield Group(file, path, Account())
        except (KeyError, OSError, RuntimeError) as error:
            # What h5py says of a damaged object table or a link that leads nowhere, whichever call meets it.
            if isinstance(error, KeyError) and "Unable to" not in str(error):
                raise
            message = f"{path}: damaged HDF5 file or a broken link inside it ({one_line(error)}); copy it again"
            raise LaminarError(message) from error


@dataclass(frozen=True)
class Kept:
    """An array in an open file.

    Attributes:
        shape: (N, ...).
        dtype: as it is stored.
        rows: reads those from a first one up to an end, exclusive.
    """

    shape: tuple[int, ...]
    dtype: Any
    rows: Callable[[int, int], Array]


class Group:
    """A group of an open file. What is read through it is noted in `account`, which tells what nobody read.

    Keys may have parts: "metadata/spec".

    Attributes:
        path: the file, for messages.
        name: where the group is in the file, "/" for the root.
        account: of the whole file.
    """

    def __init__(self, node: Any, path: Path, account: Account, name: str = "/") -> None:
        """Look into an `h5py.Group`, under the name by which it was reached: a link has it from another file."""
        self._node, self.path, self.account, self.name = node, path, account, name
        self._opened: dict[str, Any] = {}  # opening a dataset takes as long as reading a small one
        account.saw_group(node, self.name)

    def where(self, key: str) -> str:
        """Return a key with its place in the file, for messages."""
        return f"{self.name.rstrip('/')}/{key}"

    def names(self) -> list[str]:
        """Return the names in the group, sorted."""
        return self._names

    @cached_property
    def _names(self) -> list[str]:
        found = list(self._node)
        if not all(isinstance(name, str) for name in found):
            raise RuntimeError("a name is not text")  # `open_hdf5` reports it
        return sorted(found)

    def numbered(self, prefix: str) -> list[str]:
        """Return the names `<prefix><number>` of groups, in the order of their numbers ("demo_10" after "demo_9")."""
        found = [name for name in self.names() if name.startswith(prefix) and name[len(prefix) :].isdecimal()]
        return sorted((name for name in found if self.has_group(name)), key=lambda name: int(name[len(prefix) :]))

    def has_numbered(self, prefix: str, *inside: str) -> bool:
        """Tell whether there is any such group that has some keys inside."""
        found = (name for name in self.names() if name.startswith(prefix) and name[len(prefix) :].isdecimal())
        groups = (self.group(name) for name in found if self.has_group(name))
        return any(all(key in group for key in inside) for group in groups)

    def __contains__(self, key: str) -> bool:
        """Tell whether an array or group of this name is there."""
        return key in self.names() if "/" not in key else key in self._node

    def has_group(self, key: str) -> bool:
        """Tell whether a group of this name is there."""
        return key in self and is_group(self._open(key))

    def group(self, key: str) -> Group:
        """Return the group of this name, which must be there."""
        return Group(self._open(key), self.path, self.account, self.where(key))

    def _open(self, key: str) -> Any:
        if key not in self._opened:
            self._opened[key] = self._node[key]
        return self._opened[key]

    def array(self, key: str, rows: int | None = None, sparse: bool = False) -> Array:
        """Read one dataset of numbers, unchanged.

        Args:
            key: of the dataset.
            rows: read so many from the first one on, where more were allocated than written; None reads all.
            sparse: what was never written counts as the dataset's fill value, with a note; for flags and rewards, which
                recorders write only where there is something to say.

        Raises:
            LaminarError: the key is missing, a group, not numeric, was never written, or its bytes are damaged.
        """
        node, where = self._dataset(key), self.where(key)
        lacking = unwritten(node, self.path) if sparse and is_numeric(node) else None
        if lacking is None or (rows is not None and lacking.first >= rows):
            return self._numbers(node, where, rows)
        self.account.note(f"'{where}': {lacking} and count as {node.fillvalue}")
        return self._read(node, where, slice(rows))

    def arrays(self, key: str, rows: int | None = None, skip: Sequence[str] = ()) -> dict[str, Array]:
        """Read a dataset as {"": array}, or a group as {"a/b": array} in name order: numbers, no pictures.

        Args:
            key: of the dataset or group.
            rows: see `array`.
            skip: names below the group that are left out.
        """
        if not self.has_group(key):
            return {"": self.array(key, rows)}
        inside = self.group(key)
        numeric = {name: node for name, node in inside._leaves().items() if is_numeric(node) and name not in skip}
        return {name: inside._numbers(node, inside.where(name), rows) for name, node in numeric.items()}

    def kept(self, key: str, wanted: Callable[[tuple[int, ...], Any], bool]) -> dict[str, Kept]:
        """Return those arrays below a group that are not to be read at once, by name.

        Args:
            key: of the group.
            wanted: tells by shape and type which they are.

        Raises:
            LaminarError: one was never written.
        """
        group = self.group(key)
        found: dict[str, Kept] = {}
        for name, node in group._leaves().items():
            if is_numeric(node) and wanted(node.shape, node.dtype):
                where = group.where(name)
                found[name] = Kept(node.shape, node.dtype, partial(group._rows, node, where))
                self.account.saw_array(node, where)
        return found

    def _rows(self, node: Any, where: str, first: int, end: int) -> Array:
        self._check_written(node, where, end)
        return self._read(node, where, slice(first, end))

    def observations(self, key: str, rows: int | None = None, skip: Collection[str] = ()) -> dict[str, Array]:
        """Read one array of observations as the key "observation", or a group's arrays by name: numbers and pictures.

        Args:
            key: of the array or group.
            rows: see `array`.
            skip: names below the group that are left out.

        Returns:
            Key -> (N, ...) of at least two axes.

        Raises:
            LaminarError: the group holds neither, an array is a scalar, or a picture is damaged.
        """
        if self.has_group(key):
            group = self.group(key)
            leaves = group._leaves().items()
            nodes = {
                name: node
                for name, node in leaves
                if name not in skip and (is_numeric(node) or group._holds_pictures(node, group.where(name)))
            }
            found = {name: group._values(node, group.where(name), rows) for name, node in nodes.items()}
        else:
            found = {"observation": self._values(self._dataset(key), self.where(key), rows)}
        if not found and not skip:
            raise LaminarError(f"{self.path}: '{self.where(key)}' holds no arrays of numbers and no pictures")
        return found

    def text(self, key: str) -> str | None:
        """Read a string dataset, None when it is absent."""
        found = self.texts(key)
        return found[0] if found else None

    def texts(self, key: str) -> list[str]:
        """Read a dataset of strings; none when it is absent."""
        if key not in self or not is_array(self._open(key)):
            return []
        values = np.atleast_1d(self._read(self._dataset(key), self.where(key)))
        return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values.flat]

    def count(self, name: str) -> int | None:
        """Read an attribute that counts something: one whole number, maybe as text or in a list; None when absent.

        Raises:
            LaminarError: it is anything else.
        """
        stored = self.attribute(name)
        if stored is None:
            return None
        try:
            value = float(np.asarray(stored).reshape(-1).item())
            if value == int(value):
                return int(value)
        except (ValueError, TypeError, OverflowError):
            pass
        text = " ".join(str(stored).split())[:60]
        raise LaminarError(f"{self.path}: attribute '{name}' of '{self.name}' is {text}, expected a whole number")

    def attribute(self, name: str) -> Any:
        """Read an attribute, None when it is absent; text comes as str."""
        value: Any = self._node.attrs.get(name)
        self.account.saw_attribute(self.name, name)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def unwritten(self, keys: Sequence[str]) -> dict[str, Unwritten]:
        """Return what of some datasets, and of all below some groups, was never written; those only that lack rows."""
        nodes: dict[str, Any] = {}
        for key in keys:
            nodes |= self.group(key)._leaves(f"{key}/") if self.has_group(key) else {key: self._open(key)}
        found = {name: unwritten(node, self.path) for name, node in nodes.items() if is_array(node)}
        return {name: lacking for name, lacking in found.items() if lacking is not None}

    def _dataset(self, key: str) -> Any:
        where = self.where(key)
        if key not in self:
            raise LaminarError(f"{self.path}: missing '{where}' (there are {self.names()}){nearest(key, self.names())}")
        node = self._open(key)
        if not is_array(node):
            raise LaminarError(f"{self.path}: '{where}' is a group, expected an array")
        for parent in _parents(key):
            self.group(parent)  # its other arrays are accounted for one by one
        return node

    def _leaves(self, prefix: str = "") -> dict[str, Any]:
        """Return the paths of all datasets below the group, and the datasets, in name order."""
        found: dict[str, Any] = {}
        for name in self.names():
            node = self._open(name)
            if is_group(node):
                found |= self.group(name)._leaves(f"{prefix}{name}/")
            elif is_array(node):
                found[f"{prefix}{name}"] = node
        return found

    def _values(self, node: Any, where: str, rows: int | None) -> Array:
        if self._holds_pictures(node, where):
            self._check_written(node, where, rows)
            self.account.saw_array(node, where)
            with self._reading(node, where):
                return decode(node, rows, self.path, where)
        if not is_numeric(node):
            raise LaminarError(f"{self.path}: '{where}' holds {node.dtype}, expected numbers or pictures")
        value = self._numbers(node, where, rows)
        if value.ndim == 0:
            raise LaminarError(f"{self.path}: '{where}' is a single number, expected one row a step")
        return value[:, None] if value.ndim == 1 else value

    def _holds_pictures(self, node: Any, where: str) -> bool:
        if not may_hold_pictures(node):
            return False
        with self._reading(node, where):
            return holds_pictures(node)

    def _numbers(self, node: Any, where: str, rows: int | None = None) -> Array:
        if not is_numeric(node):
            raise LaminarError(f"{self.path}: '{where}' holds {node.dtype}, expected numbers")
        self._check_written(node, where, rows)
        return self._read(node, where) if rows is None or not node.shape else self._read(node, where, slice(rows))

    def _check_written(self, node: Any, where: str, rows: int | None) -> None:
        lacking = unwritten(node, self.path)
        if lacking is not None and (rows is None or lacking.first < rows):
            raise LaminarError(
                f"{self.path}: '{where}': {lacking}, and HDF5 makes up values there; remove that part, or "
                "record it again"
            )

    def _read(self, node: Any, where: str, part: Any = ()) -> Array:
        self.account.saw_array(node, where)
        with self._reading(node, where):
            try:
                return np.asarray(node[part])
            except OSError:
                if missing_filter(node) is None or not plugins_loaded():
                    raise
                return np.asarray(node[part])

    @contextmanager
    def _reading(self, node: Any, where: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise LaminarError(f"{self.path}: '{where}' {why_not_read(error, node)}") from error
        except MemoryError as error:
            size = f"{node.nbytes / 1e9:.1f} GB"
            raise LaminarError(f"{self.path}: '{where}' takes {size}, which do not fit into memory") from error


def _parents(key: str) -> list[str]:
    parts = key.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
