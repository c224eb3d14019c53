"""The world over workers: the same episodes to the bit, several simulators at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ..data.spec import Spec
from ..data.words.encoder import encoder_of
from ..errors import LaminarError
from ..registry import from_elsewhere
from .crew import OUTCOME, Command, Hire, Job, fields_of, observations_in
from .fitting import fit_env
from .ledger import Ledger, replay
from .processes import Processes
from .slots import no_outcome
from .world import Array, Observations, Outcome


class WorkerSlots:
    """A `World` whose environments live in workers, each with some of the slots and one thread.

    Equal to `Slots` to the bit for the same seeds and actions. An error in a worker ends the world: it is raised here,
    and the workers are freed. As with all spawned processes, a script makes it below `if __name__ == "__main__"`.

    Attributes:
        env_id: all arguments included, those too that follow from the policy.
        spec: of the environment; only the observations that the policy sees.
        unseen: the observations that it does not see.
        limits: what actions are clipped to, and what was cut of those that were executed.
        observations: what the last reset or step left in view.
    """

    def __init__(self, env_id: str, wanted: Spec, count: int, processes: int, hire: Hire = Processes) -> None:
        """Start the workers and make their environments.

        Args:
            env_id: see `make_env`.
            wanted: what the policy sees and does, see `fit_env`.
            count: number of slots.
            processes: number of workers; more than slots are not started.
            hire: starts them: as processes of this machine, or elsewhere.

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
        edges = [count * worker // min(processes, count) for worker in range(min(processes, count) + 1)]
        self._ranges = [range(first, last) for first, last in pairwise(edges)]
        known = (from_elsewhere("suite"), encoder_of(wanted))
        jobs = [Job(self.env_id, wanted, slots.start, slots.stop, *known) for slots in self._ranges]
        self._crew = hire(jobs, fields_of(self.spec, count))
        self._board = self._crew.board
        self.observations = observations_in(self._board, slice(None))
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
        for name in OUTCOME:
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
        self._crew.close()

    def _shares(self, chosen: Mapping[int, Any]) -> dict[int, dict[int, Any]]:
        """Return worker -> what is chosen of its slots, by their numbers there."""
        shares: dict[int, dict[int, Any]] = {}
        for worker, slots in enumerate(self._ranges):
            mine = {slot - slots.start: chosen[slot] for slot in slots if slot in chosen}
            if mine:
                shares[worker] = mine
        return shares

    def _ask(self, commands: Mapping[int, Command | None]) -> None:
        """Send commands (None: only wait until it has started) and wait for all answers.

        Raises:
            LaminarError: the world is closed, a worker reported an error, or died.
        """
        if not self._crew.alive:
            raise LaminarError(f"the world of '{self.env_id}' is closed; make a new one")
        try:
            problems = self._crew.ask(commands)
        except BaseException:  # an interrupt too: answers that are still due would be taken for those of a later call
            self.close()
            raise
        for problem in problems:
            if problem is not None:
                self.close()
                raise LaminarError(problem)
