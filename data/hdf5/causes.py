"""Why HDF5 could not open or read something, and what to do about it: each cause has its own sentence."""

from __future__ import annotations

import errno
import importlib
import importlib.util
from typing import Any

_OF_SYSTEM = {
    errno.EACCES: "may not be read; check its permissions",
    errno.EPERM: "may not be read; check its permissions",
    errno.EMFILE: "too many files are open; close some, or raise the limit with ulimit -n",
    errno.ENFILE: "too many files are open on this machine; close some",
    errno.ENOMEM: "not enough memory to open it; close other programs",
    errno.ENOENT: "it was removed while it was read; copy it again",
    errno.ESTALE: "the network drive lost it while it was read; try again",
    errno.ETIMEDOUT: "the drive did not answer in time; try again",
    errno.EIO: "the drive reports a read error; copy the file from where it came from, and check the drive",
}
_BUSY = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
_LOCKED = (
    "open for writing elsewhere; close it there or wait until it is written, or set HDF5_USE_FILE_LOCKING=FALSE if "
    "you know that nobody writes it"
)
_NO_LOCKS = "the drive does not support file locks; set HDF5_USE_FILE_LOCKING=FALSE"
_NOT_CLOSED = (
    "its writer has it open, or was killed before it closed the file; close the writer, or if there is none clear the "
    "mark with h5clear --status FILE"
)


def why_not_opened(error: OSError) -> str:
    """Return what kept a file from being opened, and the remedy."""
    text = one_line(error)
    if "unable to lock file" in text:
        return _LOCKED if error.errno in _BUSY else f"{_NO_LOCKS} ({text})"
    if "already open for" in text:
        return _NOT_CLOSED
    if error.errno in _OF_SYSTEM:
        return _OF_SYSTEM[error.errno]
    return f"cut off or damaged HDF5 file ({text}); copy it again"


def why_not_read(error: OSError, dataset: Any) -> str:
    """Return what kept an array from being read, and the remedy."""
    lacking = missing_filter(dataset)
    if lacking is not None:
        have = "the installed hdf5plugin has none either" if plugins_loaded() else "pip install hdf5plugin"
        return f"is compressed with {lacking}, which this HDF5 does not know; {have}"
    if dataset.external:
        return (
            f"takes its values from {dataset.external[0][0]}, which HDF5 looks for in the folder that the command runs "
            "in; run it beside that file, or set HDF5_EXTFILE_PREFIX='${ORIGIN}'"
        )
    if error.errno in _OF_SYSTEM:
        return f"cannot be read: {_OF_SYSTEM[error.errno]}"
    return f"cannot be read, the file is damaged ({one_line(error)}); copy it again"


def plugins_loaded() -> bool:
    """Make the filters of hdf5plugin known to HDF5, if it is installed; tell whether it is."""
    if importlib.util.find_spec("hdf5plugin") is None:
        return False
    importlib.import_module("hdf5plugin")
    return True


def missing_filter(dataset: Any) -> str | None:
    """Return name and number of the first filter of an array that is not there."""
    import h5py

    low_level: Any = h5py
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(number)
        if not low_level.h5z.filter_avail(code):
            shown = name.decode("utf-8", "replace").strip("\0 ").partition(";")[0]
            return f"filter {code}{f' ({shown})' if shown else ''}"
    return None


def one_line(error: Exception) -> str:
    """Return an error's message without line breaks."""
    return " ".join(str(error).split())
