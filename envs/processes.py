"""A crew of worker processes of this machine.

The board lies in one block of shared memory; pipes carry small commands. The block has no name in the file system, so
nothing is left of it when its processes are gone, however they went.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from .crew import Command, Field, Job, line_of, obey, observations_in, open_slots, views
from .slots import Slots

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PATIENCE = 5.0  # seconds that a worker has to leave by itself


class Processes:
    """A `Crew` of spawned processes, each with one thread."""

    def __init__(self, jobs: Sequence[Job], board: Sequence[Field]) -> None:
        """Start the workers."""
        self._jobs = jobs
        context = multiprocessing.get_context("spawn")
        memory = context.RawArray(ctypes.c_byte, sum(field.size for field in board))
        self.board = views(memory, board)
        self._pipes: list[Connection] = []
        self.processes: list[SpawnProcess] = []
        self._free = weakref.finalize(self, _free, self.processes, self._pipes)
        with _one_thread():
            for job in jobs:
                here, there = context.Pipe()
                self._pipes.append(here)
                process = context.Process(target=_serve, args=(there, memory, job, tuple(board)), daemon=True)
                process.start()
                self.processes.append(process)
                there.close()  # or the end of the worker would not be seen on the pipe

    @property
    def alive(self) -> bool:
        """Whether there are workers."""
        return self._free.alive

    def ask(self, commands: Mapping[int, Command | None]) -> list[str | None]:
        """Let workers obey, see `Crew.ask`."""
        for worker, command in commands.items():
            if command is not None:
                with suppress(OSError):  # it is dead: its answer will tell
                    self._pipes[worker].send(command)
        return [self._answer(worker) for worker in commands]

    def close(self) -> None:
        """End the workers."""
        self._free()

    def _answer(self, worker: int) -> str | None:
        """Wait for a worker's answer: None, or what went wrong in one line."""
        pipe, process = self._pipes[worker], self.processes[worker]
        wait([pipe, process.sentinel])
        with suppress(EOFError, OSError):
            if pipe.poll():
                return pipe.recv()
        process.join(_PATIENCE)
        job = self._jobs[worker]
        return (
            f"worker {worker} of '{job.env_id}' (slots {job.first} to {job.last - 1}) died with exit code "
            f"{process.exitcode}; its simulator crashed or memory ran out: use fewer slots, or Slots to see it happen"
        )


@contextmanager
def _one_thread() -> Generator[None]:
    """Let processes that are started here compute with one thread: libraries read this when they are loaded."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _free(processes: list[SpawnProcess], pipes: list[Connection]) -> None:
    """End the workers: a closed pipe tells them to leave."""
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.join(_PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _serve(pipe: Connection, memory: Any, job: Job, fields: Sequence[Field]) -> None:
    """Work until the pipe is closed, which the end of the parent does too. Every command has one answer."""
    # Ctrl-C and a scheduler's SIGTERM go to the whole group: the parent decides, and may need its world to the end.
    os.setsid()
    mine = slice(job.first, job.last)
    board = views(memory, fields)
    slots: Slots | None = None
    # The pipe breaks when the parent leaves while a command runs.
    with suppress(EOFError, OSError):
        try:
            slots = open_slots(job)
            slots.share(observations_in(board, mine))
            pipe.send(None)
            while True:
                obey(slots, {name: rows[mine] for name, rows in board.items()}, *pipe.recv())
                pipe.send(None)
        except (EOFError, BrokenPipeError):
            pass
        except Exception as error:
            pipe.send(line_of(error, job.env_id))
    if slots is not None:
        slots.close()
