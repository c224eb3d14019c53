"""What machine this is."""

from __future__ import annotations

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
