"""What machine this is, where its user is at home, and how a worker process belongs to the one that started it."""

from __future__ import annotations

import os
import platform
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import parent_process
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


@contextmanager
def computing_threads(count: int) -> Generator[None]:
    """Let PyTorch compute with so many threads; afterwards with as many as before."""
    import torch  # only where something is computed

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def follow_parent() -> None:
    """Leave interrupts to the parent of this worker process, and end with it, however it ends.

    Ctrl-C reaches all processes of a terminal; when workers stop is up to the first one. If that is killed, a worker
    that waits for more to do would wait for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
