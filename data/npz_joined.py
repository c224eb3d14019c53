"""A large `.npz` archive made of many small ones, whose rows follow each other; never more than one in memory."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ..errors import LaminarError
from . import npz


def join(parts: Sequence[Path], target: Path) -> None:
    """Write one archive with the rows of all parts, deflated; whole or not at all.

    Args:
        parts: at least one, with the same arrays of the same types.
        target: missing folders are made, an existing file is replaced at the end.

    Raises:
        LaminarError: a part is damaged, or the file cannot be written, for example on a full disk.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for key in npz.names(parts[0]):
                _add(archive, key, parts)
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise LaminarError(f"{target}: cannot be written ({reason}); nothing was replaced") from error
    finally:
        partial.unlink(missing_ok=True)


def _add(archive: zipfile.ZipFile, key: str, parts: Sequence[Path]) -> None:
    first = npz.read(parts[0], [key])[key]
    rows = sum(len(npz.read(part, ["terminals"])["terminals"]) for part in parts)
    layout = {"descr": npy.dtype_to_descr(first.dtype), "fortran_order": False, "shape": (rows, *first.shape[1:])}
    with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
        npy.write_array_header_1_0(stream, layout)
        for part in parts:
            stream.write(np.ascontiguousarray(npz.read(part, [key])[key]).tobytes())
