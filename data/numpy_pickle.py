"""The one place that unpickles: CALVIN keeps dictionaries in `.npy` files, and numpy pickles what is no plain array.

A pickle can name any function of any module and have it called. Here it may name only those that numpy arrays are
rebuilt with; a file that names another is refused before anything is called. Even these are replaced, because numpy's
own believe what a pickle says: a forged type or length makes them read memory that is not theirs.
"""

from __future__ import annotations

import io
import math
import pickle  # noqa: TID251
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import LaminarError

_KINDS = "biufcSUO"  # numbers, text and Python objects; no type made of others


class _Type:
    """Stands in for `numpy.dtype`."""

    def __init__(self, code: str, *_: Any) -> None:
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in _KINDS:
            raise LaminarError(f"it holds an array of the type '{code}', which is not read here; do not trust it")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *parts = state[:5]
        if parts != [None, None, None]:
            raise LaminarError("it holds an array whose type has parts, which is not read here; do not trust it")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray[Any, Any]):
    """Stands in for `numpy.ndarray`: nothing is taken before type, shape and content agree."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Type):
            raise ValueError("an array without a type")
        objects = kind.dtype.hasobject
        count = math.prod(shape) * (1 if objects else kind.dtype.itemsize)
        if min(shape, default=0) < 0 or type(content) is not (list if objects else bytes) or len(content) != count:
            raise ValueError(f"an array of shape {shape} with other content")
        super().__setstate__((1, shape, kind.dtype, bool(fortran), content))  # pyright: ignore[reportArgumentType]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.asarray(self).__reduce_ex__(protocol)  # what was read can be written again as a plain array


def _empty(*_: Any) -> NDArray[Any]:
    """Return an array that takes its content later."""
    return _Array(0)


def _scalar(kind: _Type, content: bytes) -> Any:
    """Return a single number or text."""
    if kind.dtype.hasobject:  # numpy would take the bytes for its address
        raise ValueError("a single object")
    return np.ndarray((), kind.dtype, content)[()]


# `numpy.core` became `numpy._core` in numpy 2; files of both are about.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",  # only named, never called
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries, lists, strings, numbers and numpy arrays."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return what a pickle may name.

        Raises:
            LaminarError: it is anything else.
        """
        allowed = _ALLOWED.get((module_name, global_name))
        if allowed is None:
            raise LaminarError(
                f"it wants to load '{module_name}.{global_name}', and only numpy arrays are allowed; do not trust it"
            )
        return allowed


def _check_memo(content: bytes) -> None:
    """Refuse numbers of remembered things beyond all reason: the list for them grows to the greatest at once."""
    for opcode, number, _ in pickletools.genops(content):
        if opcode.name.endswith("PUT") and int(number or 0) > len(content):
            raise ValueError(f"it remembers something as number {number}")


def read(path: Path) -> dict[Any, Any]:
    """Return the dictionary in a file that `numpy.save` wrote.

    Raises:
        LaminarError: the file is missing or damaged, holds no dictionary, or names a forbidden class.
    """
    try:
        file = io.BytesIO(path.read_bytes())  # which gives no more than there is, whatever length a header states
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(file)
        if shape != () or dtype != np.dtype(object):
            raise LaminarError(f"it holds {dtype} of shape {shape}, expected a dictionary")
        content = file.read()
        _check_memo(content)
        value: Any = _Unpickler(io.BytesIO(content)).load().item()
    except FileNotFoundError as error:
        raise LaminarError(f"{path}: no such file; copy it from the data set") from error
    except LaminarError as error:
        raise LaminarError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle may raise anything at all
        reason = " ".join(str(error).split())
        raise LaminarError(f"{path}: truncated or damaged file ({reason}); copy it again") from error
    if not isinstance(value, dict):
        raise LaminarError(f"{path}: it holds a {type(value).__name__}, expected a dictionary")
    return value


def write(path: Path, value: dict[Any, Any]) -> None:
    """Write a dictionary of lists, strings, numbers and numpy arrays as `numpy.save` of numpy 1 would.

    Raises:
        OSError: the disk is full or not writable.
    """
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    content = pickle.dumps(np.array(value, dtype=object), protocol=3)
    # Protocol 3 names functions in plain lines; numpy 1 does not know the new name of this module.
    content = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    path.write_bytes(stream.getvalue() + content)
