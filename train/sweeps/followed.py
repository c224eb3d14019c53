"""A command of laminar in a process that follows the one which started it.

    python -m laminar.train.sweeps.followed RUN train method=bc … out=RUN

It ends when its standard input does, which is when whoever started it ends, even by a kill: with a checkpoint, as at
any SIGTERM. A lock in the folder of the run lets no two processes write there: one that was started in the place of
another that is still saving waits for it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType

from ...errors import LaminarError

LOCK = ".lock"
_PATIENCE = 60.0  # seconds until a run counts as somebody else's
_POLL = 0.1


def main(folder: str, words: list[str]) -> int:
    """Run a command once no other process has the run; the lock is the process's until it ends."""
    signal.signal(signal.SIGUSR2, _terminate)  # in SLURM a job that is about to be preempted, its children too
    threading.Thread(target=_follow, daemon=True).start()
    try:
        with held(
            Path(folder) / LOCK, f"another process works in {folder}; let it end, or choose another out=", _PATIENCE
        ):
            sys.argv = ["laminar", *words]
            return import_module("laminar.cli").main()  # lies above this room
    except LaminarError as error:
        print(f"laminar: {error}", file=sys.stderr)
        return 2


@contextmanager
def held(path: Path, told: str, patience: float = 1.0) -> Generator[None]:
    """Hold a lock, which no other process then has, and which ends with this one, however it ends.

    Args:
        path: of its file.
        told: what a user is told where another process does not let it go.
        patience: seconds that it is waited for.

    Raises:
        LaminarError: says what was to be told.
    """
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    begin = time.monotonic()
    try:
        while not _locked(lock):
            if time.monotonic() - begin > patience:
                raise LaminarError(told)
            time.sleep(_POLL)
        yield
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _follow() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _terminate(number: int, frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
