"""What a launcher starts, and what it tells of it: plain values, which travel to other machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOG = "log.txt"
"""In the folder of a run: what its processes printed."""


@dataclass(frozen=True)
class Share:
    """What a run has of a machine: cores and GPUs, of which it may have a part."""

    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Job:
    """The commands of a run.

    Attributes:
        name: of the run.
        folder: of the run, absolute and the same on all machines.
        commands: words after `laminar`, of one process after the other.
        cwd: folder that the paths in them begin in.
        stop: file; once it is there, processes stop at their next checkpoint and nothing more is started.
        tries: how often a command is started that gets killed.
        threads: of a process, for libraries that would take all cores.
        steps: updates that the run is to have, as far as its settings tell.
    """

    name: str
    folder: str
    commands: tuple[tuple[str, ...], ...]
    cwd: str
    stop: str
    tries: int = 1
    threads: int = 1
    steps: int = 1

    @property
    def log(self) -> Path:
        """File with what the processes printed."""
        return Path(self.folder) / LOG


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        name: of the run.
        code: exit code of its last process, negative where a signal killed it.
        told: why it failed, a line; "" where it did not.
        early: what ended it early in favour of others, "" where nothing did.
        seconds: that its processes took; None where nobody measured.
    """

    name: str
    code: int
    told: str = ""
    early: str = ""
    seconds: float | None = None
