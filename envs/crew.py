"""Workers that step the environments of a world: what each has to know, what it is told, and how it obeys.

A crew is such workers and the way to them: spawned processes of this machine (`processes.py`), or actors of a Ray
cluster (`actors.py`). All that slots show and do lies in the arrays of its board, wherever the workers are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..data.spec import Spec
from ..data.words.encoder import TextEncoder, remember
from ..errors import LaminarError
from ..registry import Elsewhere, register_again
from .ledger import LONGEST, SHOWN
from .slots import Slots
from .world import Array, Observations

Command = tuple[str, Any]
"""What some slots are to do, which are numbered within their worker: "reset", "begin" or "step", and its argument."""
OUTCOME = ("reward", "steps", "terminated", "truncated", "success")


@dataclass(frozen=True)
class Field:
    """One array of the shared block."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes, rounded up so that the next array begins at a cache line of its own."""
        return -(-int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize // 64) * 64


@dataclass(frozen=True)
class Job:
    """What a worker has to know: its slots are `first` to `last`, the last one excluded."""

    env_id: str
    wanted: Spec
    first: int
    last: int
    suites: list[Elsewhere]
    encoder: TextEncoder | None


class Crew(Protocol):
    """Workers, one for each job.

    Attributes:
        board: the arrays of all slots, by name; what slots show, chunks, and outcomes.
    """

    board: dict[str, Array]

    @property
    def alive(self) -> bool:
        """Whether there are workers: not after `close`."""
        ...

    def ask(self, commands: Mapping[int, Command | None]) -> list[str | None]:
        """Let workers obey, and wait for all of them: afterwards the board has what came of it.

        Args:
            commands: worker -> command; None only waits until it has started.

        Returns:
            For each worker None, or what went wrong in one line.
        """
        ...

    def close(self) -> None:
        """End the workers."""
        ...


class Hire(Protocol):
    """How a crew is made."""

    def __call__(self, jobs: Sequence[Job], board: Sequence[Field]) -> Crew:
        """Start a worker for each job."""
        ...


def fields_of(spec: Spec, slots: int) -> tuple[Field, ...]:
    """Return the arrays of a board."""
    shown = [Field(SHOWN + key, (slots, *one.shape), one.dtype) for key, one in spec.observation.items()]
    kinds = dict(zip(OUTCOME, ("float64", "int64", "bool", "bool", "float64"), strict=True))
    return (
        *shown,
        Field("chunks", (slots, LONGEST, spec.action_dim), "float32"),
        *(Field(name, (slots,), kind) for name, kind in kinds.items()),
    )


def views(memory: Any, fields: Sequence[Field]) -> dict[str, Array]:
    """Return the arrays that lie in the shared block one after the other."""
    found: dict[str, Array] = {}
    offset = 0
    for field in fields:
        flat = np.frombuffer(memory, field.dtype, int(np.prod(field.shape)), offset)
        found[field.name] = flat.reshape(field.shape)
        offset += field.size
    return found


def observations_in(board: Mapping[str, Array], slots: slice) -> Observations:
    """Return what some slots show."""
    return {name.removeprefix(SHOWN): rows[slots] for name, rows in board.items() if name.startswith(SHOWN)}


def open_slots(job: Job) -> Slots:
    """Make the environments of a job in the process of its worker.

    Raises:
        LaminarError: they cannot be made here.
    """
    register_again(job.suites)
    if job.encoder is not None:
        remember(job.encoder)
    return Slots(job.env_id, job.wanted, job.last - job.first)


def obey(slots: Slots, board: Mapping[str, Array], command: str, argument: dict[int, Any]) -> None:
    """Execute a command for some slots, which are numbered within this worker."""
    if command == "reset":
        options = {slot: given for slot, (_, given) in argument.items() if given is not None}
        slots.reset({slot: seed for slot, (seed, _) in argument.items()}, options)
    elif command == "begin":
        slots.begin(argument)
    else:
        chosen = list(argument)
        outcome = slots.step(board["chunks"][:, : argument[chosen[0]]], chosen)
        for name in OUTCOME:
            board[name][chosen] = getattr(outcome, name)[chosen]


def line_of(error: Exception, env_id: str) -> str:
    """Return what an error of a worker says, in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, LaminarError) else f"a worker of '{env_id}' failed: {type(error).__name__}: {text}"
