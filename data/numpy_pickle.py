"""The one place that unpickles: CALVIN keeps dictionaries in `.npy` files, and numpy pickles what is no plain array.

A pickle can name any function of any module and have it called. Here it may name only the four that numpy arrays are
rebuilt with; a file that names another is refused before anything is called.
"""

from __future__ import annotations

import io
import pickle  # noqa: TID251
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ..errors import LaminarError

# `numpy.core` became `numpy._core` in numpy 2; files of both are about.
_RECONSTRUCT: Any = np.zeros(0).__reduce__()[0]
_SCALAR: Any = np.float64().__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
}


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries, lists, strings, numbers and numpy arrays."""

    def find_class(self, module_name: str, global_name: str) -> Callable[..., Any]:
        """Return what a pickle may call.

        Raises:
            LaminarError: it is anything else.
        """
        allowed = _ALLOWED.get((module_name, global_name))
        if allowed is None:
            raise LaminarError(
                f"it wants to load '{module_name}.{global_name}', and only numpy arrays are allowed; do not trust it"
            )
        return allowed


def read(path: Path) -> dict[Any, Any]:
    """Return the dictionary in a file that `numpy.save` wrote.

    Raises:
        LaminarError: the file is missing or damaged, holds no dictionary, or names a forbidden class.
    """
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = header(file)
            if shape != () or dtype != np.dtype(object):
                raise LaminarError(f"it holds {dtype} of shape {shape}, expected a dictionary")
            value: Any = _Unpickler(file).load().item()
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
