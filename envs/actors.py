"""A crew of actors on a Ray cluster, which may be on other machines: arrays travel, no memory is shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ..cluster import cluster
from ..errors import LaminarError
from ..version import __version__
from .crew import OUTCOME, Command, Field, Job, line_of, obey, observations_in, open_slots
from .ledger import SHOWN
from .slots import Slots
from .world import Array

Reply = tuple[dict[str, Array], str | None]
"""What a worker's slots show and have done, by name, and what went wrong in one line."""


class Actors:
    """A `Crew` of Ray actors, a core each, on the cluster of RAY_ADDRESS or one that is started here."""

    def __init__(self, jobs: Sequence[Job], board: Sequence[Field]) -> None:
        """Start the workers.

        Raises:
            LaminarError: Ray is missing, or the cluster has too few cores for all of them at once.
        """
        self._jobs, self._fields = jobs, board
        self.board = {field.name: np.zeros(field.shape, field.dtype) for field in board}
        self._stack = ExitStack()
        self.alive = True
        self._ray: Any = self._stack.enter_context(cluster(cpus=len(jobs)))
        with ExitStack() as unless_started:
            unless_started.callback(self.close)
            cores = int(self._ray.cluster_resources().get("CPU", 0))
            if cores < len(jobs):
                raise LaminarError(
                    f"env.workers=ray:{len(jobs)} needs as many cores, the cluster has {cores}; give env.workers=ray:N "
                    "with fewer"
                )
            remote = self._ray.remote(num_cpus=1, max_restarts=0)(_Actor)
            self._actors: list[Any] = [remote.remote(job, tuple(board), __version__) for job in jobs]
            unless_started.pop_all()

    def ask(self, commands: Mapping[int, Command | None]) -> list[str | None]:
        """Let workers obey, see `Crew.ask`."""
        due = [(worker, self._send(worker, command)) for worker, command in commands.items()]
        return [self._answer(worker, reference) for worker, reference in due]

    def _send(self, worker: int, command: Command | None) -> Any:
        actor = self._actors[worker]
        if command is None:
            return actor.started.remote()
        name, argument = command
        length = next(iter(argument.values())) if name == "step" else 0
        job = self._jobs[worker]
        return actor.obey.remote(name, argument, self.board["chunks"][job.first : job.last, :length])

    def _answer(self, worker: int, reference: Any) -> str | None:
        job = self._jobs[worker]
        try:
            rows, problem = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            told = str(error).strip().splitlines()[0]
            return (
                f"worker {worker} of '{job.env_id}' (slots {job.first} to {job.last - 1}) was lost on the cluster "
                f"({type(error).__name__}: {told}); the run goes on from its last checkpoint with resume=true"
            )
        for name, values in rows.items():
            self.board[name][job.first : job.last] = values
        return problem

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        if self.alive:
            self.alive = False
            for actor in getattr(self, "_actors", []):
                self._ray.kill(actor)
            self._stack.close()


class _Actor:
    """One worker: its slots, and its rows of the board."""

    def __init__(self, job: Job, fields: Sequence[Field], version: str) -> None:
        self._job, self._problem = job, None if version == __version__ else _other(version)
        count = job.last - job.first
        self._board = {field.name: np.zeros((count, *field.shape[1:]), field.dtype) for field in fields}
        self._slots: Slots | None = None
        if self._problem is None:
            self._try(self._open)

    def _open(self) -> None:
        self._slots = open_slots(self._job)
        self._slots.share(observations_in(self._board, slice(None)))

    def _try(self, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception as error:
            self._problem = line_of(error, self._job.env_id)

    def started(self) -> Reply:
        """Return what came of the start."""
        return {}, self._problem

    def obey(self, name: str, argument: dict[int, Any], chunks: Array) -> Reply:
        """Execute a command for some slots."""
        self._board["chunks"][:, : chunks.shape[1]] = chunks
        if self._problem is None:
            self._try(obey, self._slots, self._board, name, argument)
        return {
            key: rows for key, rows in self._board.items() if key in OUTCOME or key.startswith(SHOWN)
        }, self._problem


def _other(version: str) -> str:
    return f"the cluster's workers have laminar {__version__}, and this is {version}; install the same"
