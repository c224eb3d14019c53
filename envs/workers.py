"""The world over worker processes: the same episodes to the bit, several simulators at a time.

All arrays lie in one block of shared memory; pipes carry small commands. The block has no name in the file system, so
nothing is left of it when its processes are gone, however they went.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np

from ..data.spec import Spec
from ..data.words.encoder import TextEncoder, encoder_of, remember
from ..errors import LaminarError
from ..registry import Elsewhere, from_elsewhere, register_again
from .fitting import fit_env
from .ledger import LONGEST, SHOWN, Ledger, replay
from .slots import Slots, no_outcome
from .world import Array, Observations, Outcome

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PATIENCE = 5.0  # seconds that a worker has to leave by itself


@dataclass(frozen=True)
class _Field:
    """One array of the shared block."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes, rounded up so that the next array begins at a cache line of its own."""
        return -(-int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize // 64) * 64


@dataclass(frozen=True)
class _Job:
    """What a worker has to know: its slots are `first` to `last`, the last one excluded."""

    env_id: str
    wanted: Spec
    first: int
    last: int
    fields: tuple[_Field, ...]
    suites: list[Elsewhere]
    encoder: TextEncoder | None


class WorkerSlots:
    """A `World` whose environments live in spawned processes, each with some of the slots and one thread.

    Equal to `Slots` to the bit for the same seeds and actions. An error in a worker ends the world: it is raised here,
    and the processes are freed. As with all spawned processes, a script makes it below `if __name__ == "__main__"`.

    Attributes:
        env_id: all arguments included, those too that follow from the policy.
        spec: of the environment; only the observations that the policy sees.
        unseen: the observations that it does not see.
        limits: what actions are clipped to, and what was cut of those that were executed.
        observations: what the last reset or step left in view.
    """

    def __init__(self, env_id: str, wanted: Spec, count: int, processes: int) -> None:
        """Start the workers and make their environments.

        Args:
            env_id: see `make_env`.
            wanted: what the policy sees and does, see `fit_env`.
            count: number of slots.
            processes: number of workers; more than slots are not started.

        Raises:
            LaminarError: no such environment, it does not fit, or a worker cannot make it.
        """
        if count < 1 or processes < 1:
            raise LaminarError(f"worker slots need at least 1 slot and 1 process, got {count} and {processes}")
        fitted = fit_env(env_id, wanted)
        fitted.env.close()  # it was made to be asked; the workers make their own
        self.limits, self.unseen = fitted.limits, fitted.unseen
        self.env_id, self.spec, self.slots = fitted.env_id, fitted.spec, count
        self._ledger = Ledger(self.env_id, count, self.spec.action_dim)
        fields = _fields(self.spec, count)
        context = multiprocessing.get_context("spawn")
        memory = context.RawArray(ctypes.c_byte, sum(field.size for field in fields))
        self._board = _views(memory, fields)
        self.observations = _observations(self._board, slice(None))
        edges = [count * worker // min(processes, count) for worker in range(min(processes, count) + 1)]
        self._ranges = [range(first, last) for first, last in pairwise(edges)]
        self._pipes: list[Connection] = []
        self._processes: list[SpawnProcess] = []
        self._free = weakref.finalize(self, _free, self._processes, self._pipes)
        with _one_thread():
            for slots in self._ranges:
                known = (from_elsewhere("suite"), encoder_of(wanted))
                job = _Job(self.env_id, wanted, slots.start, slots.stop, fields, *known)
                here, there = context.Pipe()
                self._pipes.append(here)
                process = context.Process(target=_serve, args=(there, memory, job), daemon=True)
                process.start()
                self._processes.append(process)
                there.close()  # or the end of the worker would not be seen on the pipe
        self._ask(dict.fromkeys(range(len(self._ranges))))

    def reset(self, seeds: Mapping[int, int], options: Mapping[int, dict[str, Any]] | None = None) -> Observations:
        """Begin an episode in some slots, see `World.reset`."""
        self._ledger.existing(seeds)
        chosen = {slot: (seed, options.get(slot) if options else None) for slot, seed in seeds.items()}
        self._ask({worker: ("reset", mine) for worker, mine in self._shares(chosen).items()})
        self._ledger.begin(seeds, options)
        return self.observations

    def begin(self, tasks: Mapping[int, str]) -> Observations:
        """Give some slots (slot -> task) of a room an instruction where they are, see `Slots.begin`."""
        self._ledger.running(tasks)
        self._ask({worker: ("begin", mine) for worker, mine in self._shares(tasks).items()})
        self._ledger.given(tasks)
        return self.observations

    def step(self, chunks: Array, slots: Iterable[int] | None = None) -> Outcome:
        """Execute a chunk in each of some slots, see `World.step`."""
        chosen = self._ledger.running(slots)
        asked = self._ledger.chunks(chunks)
        chunks = self.limits.clip(asked)  # here, so that it is counted here; the workers find nothing to clip
        length = chunks.shape[1]
        self._board["chunks"][:, :length] = chunks
        shares = self._shares(dict.fromkeys(chosen, length))
        self._ask({worker: ("step", mine) for worker, mine in shares.items()})
        outcome = no_outcome(self.observations, self.slots)
        for name in _OUTCOME:
            getattr(outcome, name)[chosen] = self._board[name][chosen]
        for slot in chosen:
            self._ledger.book(slot, chunks, int(outcome.steps[slot]))
        for slot in np.flatnonzero(outcome.ended).tolist():
            self._ledger.end(slot)
        self.limits.count(asked, chunks, chosen, outcome.steps)
        return outcome

    def state(self) -> dict[str, Array]:
        """Return what resumes the running episodes, see `World.state`."""
        return self._ledger.state(self.observations)

    def load_state(self, state: Mapping[str, Array]) -> Observations:
        """Resume the episodes of `state`, see `World.load_state`."""
        return replay(self, self._ledger, state)

    def close(self) -> None:
        """End the workers; observations that were returned stay readable."""
        self._ledger.forget()
        self._free()

    def _shares(self, chosen: Mapping[int, Any]) -> dict[int, dict[int, Any]]:
        """Return worker -> what is chosen of its slots, by their numbers there."""
        shares: dict[int, dict[int, Any]] = {}
        for worker, slots in enumerate(self._ranges):
            mine = {slot - slots.start: chosen[slot] for slot in slots if slot in chosen}
            if mine:
                shares[worker] = mine
        return shares

    def _ask(self, commands: Mapping[int, tuple[str, Any] | None]) -> None:
        """Send commands (None: only wait until it has started) and wait for all answers.

        Raises:
            LaminarError: the world is closed, a worker reported an error, or died.
        """
        if not self._free.alive:
            raise LaminarError(f"the world of '{self.env_id}' is closed; make a new one")
        try:
            for worker, command in commands.items():
                if command is not None:
                    with suppress(OSError):  # it is dead: its answer will tell
                        self._pipes[worker].send(command)
            problems = [self._answer(worker) for worker in commands]
        except BaseException:  # an interrupt too: answers that are still due would be taken for those of a later call
            self.close()
            raise
        for problem in problems:
            if problem is not None:
                self.close()
                raise LaminarError(problem)

    def _answer(self, worker: int) -> str | None:
        """Wait for a worker's answer: None, or what went wrong in one line."""
        pipe, process = self._pipes[worker], self._processes[worker]
        wait([pipe, process.sentinel])
        with suppress(EOFError, OSError):
            if pipe.poll():
                return pipe.recv()
        process.join(_PATIENCE)
        slots = self._ranges[worker]
        return (
            f"worker {worker} of '{self.env_id}' (slots {slots.start} to {slots.stop - 1}) died with exit code "
            f"{process.exitcode}; its simulator crashed or memory ran out: use fewer slots, or Slots to see it happen"
        )


_OUTCOME = ("reward", "steps", "terminated", "truncated", "success")


def _fields(spec: Spec, slots: int) -> tuple[_Field, ...]:
    shown = [_Field(SHOWN + key, (slots, *one.shape), one.dtype) for key, one in spec.observation.items()]
    kinds = dict(zip(_OUTCOME, ("float64", "int64", "bool", "bool", "float64"), strict=True))
    return (
        *shown,
        _Field("chunks", (slots, LONGEST, spec.action_dim), "float32"),
        *(_Field(name, (slots,), kind) for name, kind in kinds.items()),
    )


def _views(memory: Any, fields: Sequence[_Field]) -> dict[str, Array]:
    """Return the arrays that lie in the shared block one after the other."""
    views: dict[str, Array] = {}
    offset = 0
    for field in fields:
        flat = np.frombuffer(memory, field.dtype, int(np.prod(field.shape)), offset)
        views[field.name] = flat.reshape(field.shape)
        offset += field.size
    return views


def _observations(board: Mapping[str, Array], slots: slice) -> Observations:
    return {name.removeprefix(SHOWN): rows[slots] for name, rows in board.items() if name.startswith(SHOWN)}


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


def _serve(pipe: Connection, memory: Any, job: _Job) -> None:
    """Work until the pipe is closed, which the end of the parent does too. Every command has one answer."""
    # Ctrl-C and a scheduler's SIGTERM go to the whole group: the parent decides, and may need its world to the end.
    os.setsid()
    mine = slice(job.first, job.last)
    board = _views(memory, job.fields)
    slots: Slots | None = None
    # The pipe breaks when the parent leaves while a command runs.
    with suppress(EOFError, OSError):
        try:
            register_again(job.suites)
            if job.encoder is not None:
                remember(job.encoder)
            slots = Slots(job.env_id, job.wanted, job.last - job.first)
            slots.share(_observations(board, mine))
            pipe.send(None)
            while True:
                _obey(slots, {name: rows[mine] for name, rows in board.items()}, *pipe.recv())
                pipe.send(None)
        except (EOFError, BrokenPipeError):
            pass
        except Exception as error:
            pipe.send(_line(error, job.env_id))
    if slots is not None:
        slots.close()


def _obey(slots: Slots, board: Mapping[str, Array], command: str, argument: dict[int, Any]) -> None:
    """Execute a command for some slots, which are numbered within this worker."""
    if command == "reset":
        options = {slot: given for slot, (_, given) in argument.items() if given is not None}
        slots.reset({slot: seed for slot, (seed, _) in argument.items()}, options)
    elif command == "begin":
        slots.begin(argument)
    else:
        chosen = list(argument)
        outcome = slots.step(board["chunks"][:, : argument[chosen[0]]], chosen)
        for name in _OUTCOME:
            board[name][chosen] = getattr(outcome, name)[chosen]


def _line(error: Exception, env_id: str) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, LaminarError) else f"a worker of '{env_id}' failed: {type(error).__name__}: {text}"
