"""Large `.npz` archives made of many small ones, whose rows follow each other; never more than one in memory."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ..errors import LaminarError
from . import npz


def join(targets: Mapping[Path, Sequence[Path]]) -> None:
    """Write archives with the rows of all their parts, deflated; all of them appear at the end, or none.

    Args:
        targets: archive -> at least one part, with the same arrays of the same types. Existing files are replaced.

    Raises:
        LaminarError: a part is damaged, or a file cannot be written, for example on a full disk.
    """
    partial = {target: target.with_name(f".{target.name}.{os.getpid()}.partial") for target in targets}
    try:
        for target, parts in targets.items():
            with zipfile.ZipFile(partial[target], "w", zipfile.ZIP_DEFLATED) as archive:
                for key in npz.names(parts[0]):
                    _add(archive, key, parts)
        for target in targets:
            os.replace(partial[target], target)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise LaminarError(f"{next(iter(targets))}: cannot be written ({reason}); nothing was replaced") from error
    finally:
        for file in partial.values():
            file.unlink(missing_ok=True)


def _add(archive: zipfile.ZipFile, key: str, parts: Sequence[Path]) -> None:
    first = npz.read(parts[0], [key])[key]
    rows = sum(len(npz.read(part, ["terminals"])["terminals"]) for part in parts)
    layout = {"descr": npy.dtype_to_descr(first.dtype), "fortran_order": False, "shape": (rows, *first.shape[1:])}
    with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
        npy.write_array_header_1_0(stream, layout)
        for part in parts:
            stream.write(np.ascontiguousarray(npz.read(part, [key])[key]).tobytes())
