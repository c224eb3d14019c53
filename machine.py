"""What machine this is, and where its user is at home."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu_model() -> str:
    """Name of the processor as Linux tells it, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def at_home(path: str) -> str:
    """Return a path with the home folder in place of ``~`` and a leading ``~/`` or ``~user/``.

    In front of other names ``~`` is a character like others, `~demos.hdf5`, and so it is in what exists by that name.
    """
    may = path == "~" or "/" in path
    return os.path.expanduser(path) if path.startswith("~/") or (may and not os.path.lexists(path)) else path
