"""One run as processes of its own, which is what every launcher starts on whatever machine; imports nothing heavy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .job import Ended, Job

STOPPED = 128 + signal.SIGTERM
"""Exit code of a run that was asked to stop, and has written a checkpoint."""
_PROGRAM = ("-m", "laminar.train.sweeps.followed")
_POLL = 0.1  # seconds
_GRACE = 120.0  # seconds that a process has to write its checkpoint


def run(job: Job, devices: str | None = None, stopping: Callable[[], bool] = lambda: False) -> Ended:
    """Run the commands of a job one after the other, to their end.

    Args:
        job: the commands.
        devices: CUDA_VISIBLE_DEVICES of the processes; None leaves it as it is here.
        stopping: tells that the processes should stop, as the job's file does.
    """
    running, begin = Running(job, devices), time.monotonic()
    try:
        while (code := running.code(_POLL)) is None:
            if stopping() or os.path.exists(job.stop):
                running.stop()
    finally:  # where whoever waits is told to end
        running.stop()
    return Ended(job.name, code, running.told, seconds=time.monotonic() - begin)


class Running:
    """The commands of a job, one process after the other; one that is killed is started again, from its checkpoint.

    Attributes:
        told: why the job failed, a line; "" where it did not.
    """

    def __init__(self, job: Job, devices: str | None = None) -> None:
        """Start the first command, unless there is none, or all are asked to stop."""
        self._job, self._devices, self.told = job, devices, ""
        self._waiting, self._tries = list(job.commands), job.tries
        self._stopped = os.path.exists(job.stop)
        self._code: int | None = STOPPED if self._stopped and self._waiting else None
        self._process: _Process | None = None
        if self._code is None:
            self._go_on()

    def code(self, wait: float = 0.0) -> int | None:
        """Return the exit code of the last process, None while there is more to do, after some seconds at most."""
        code = None if self._process is None else self._process.code(wait)
        if self._process is None or code is None:
            return self._code
        told, self._process = self._process.told(code), None
        self._tries -= _killed(code)
        if not code:
            self._waiting.pop(0)
            self._tries = self._job.tries
        if code and (not _killed(code) or self._stopped or not self._tries):
            asked = self._stopped and _killed(code)  # also before it could save anything
            self._code, self.told = (STOPPED, "") if asked else (code, told)
        else:
            self._go_on()
        return self._code

    def stop(self) -> None:
        """Let the process write a checkpoint and end, wait until it has, and start nothing more."""
        self._stopped = True
        if self._process is not None:
            self._process.stop()

    def _go_on(self) -> None:
        if not self._waiting or self._stopped:
            self._code = STOPPED if self._waiting else 0
        else:
            self._process = _Process(self._job, self._waiting[0], self._devices)


class _Process:
    """A command of laminar in a process that ends with this one, however it ends."""

    def __init__(self, job: Job, command: tuple[str, ...], devices: str | None) -> None:
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        begun = command[0] == "train" and any(any(folder.glob(one)) for one in ("run.json", "seed_*/run.json"))
        words = [*command, *(["resume=true"] if begun else [])]
        self._log, self._begin = job.log, job.log.stat().st_size if job.log.exists() else 0
        environment = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(job.threads)}
        environment |= {} if devices is None else {"CUDA_VISIBLE_DEVICES": devices}
        with self._log.open("ab") as log:
            self._process: subprocess.Popen[Any] = subprocess.Popen(
                [sys.executable, *_PROGRAM, job.folder, *words],
                stdin=subprocess.PIPE,  # which closes when this process ends
                stdout=log,
                stderr=log,
                cwd=job.cwd,
                env=os.environ | environment,
                start_new_session=True,  # Ctrl-C is for whoever started it, who tells it
            )

    def code(self, wait: float) -> int | None:
        try:
            return self._process.wait(wait)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def told(self, code: int) -> str:
        """Return the line in which the process said why it failed, or what killed it."""
        if self._process.stdin:
            self._process.stdin.close()
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        with self._log.open("rb") as log:
            log.seek(self._begin)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        own = [line.removeprefix("laminar: ") for line in lines if line.startswith("laminar: ")]
        if code == 1:  # a bug: the last line of the traceback tells more than ours
            own = [line for line in lines if not line.startswith("laminar: ")]
        return own[-1] if own else f"exit code {code}, see {self._log}"


def _killed(code: int) -> bool:
    return code < 0 or code in (STOPPED, 128 + signal.SIGINT)
