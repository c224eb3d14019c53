"""Which episode runs in each slot of a world, and what was done in it; so it can be done again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError
from .world import Array, Observations, World

LONGEST = 256  # steps of a chunk, at most
SHOWN = "observation/"  # begins the names of observations beside other arrays


class Ledger:
    """The episodes of a world's slots. It refuses what no world can do, and keeps what `replay` needs."""

    def __init__(self, env_id: str, slots: int, width: int) -> None:
        """Begin without an episode; actions have `width` numbers."""
        self.env_id, self.slots, self.width = env_id, slots, width
        self._all = range(slots)
        self._seeds = [-1] * slots
        self._running: set[int] = set()
        self._changed = [""] * slots  # what cannot be replayed, in words
        self._executed: list[list[tuple[Array, int]]] = [[] for _ in range(slots)]  # chunks of all slots, and steps

    def existing(self, slots: Iterable[int]) -> list[int]:
        """Return distinct slots.

        Raises:
            LaminarError: one does not exist, or is named twice.
        """
        chosen = list(slots)
        if any(slot not in self._all for slot in chosen) or len(set(chosen)) < len(chosen):
            raise LaminarError(f"slots must be distinct and from 0 to {self.slots - 1}, got {chosen}")
        return chosen

    def running(self, slots: Iterable[int] | None) -> list[int]:
        """Return the slots to step, all of them where `slots` is None.

        Raises:
            LaminarError: no episode runs in one of them.
        """
        chosen = list(self._all if slots is None else slots)
        if not self._running.issuperset(chosen) or (len(chosen) > 1 and len(set(chosen)) < len(chosen)):
            idle = [slot for slot in self.existing(chosen) if slot not in self._running]
            raise LaminarError(f"no episode of '{self.env_id}' runs in slot {idle[0]}; reset it with a seed first")
        return chosen

    def chunks(self, chunks: Any) -> NDArray[np.float32]:
        """Return chunks (B, H, A) in float32, which every simulator of laminar is driven with.

        Raises:
            LaminarError: another shape, or chunks longer than `LONGEST`.
        """
        chunks = np.asarray(chunks, np.float32)
        if chunks.ndim == 3:
            slots, steps, width = chunks.shape
            if slots == self.slots and width == self.width and 1 <= steps <= LONGEST:
                return chunks
        wanted = f"({self.slots}, 1 to {LONGEST}, {self.width})"
        raise LaminarError(f"chunks for '{self.env_id}' must have shape {wanted}, got {chunks.shape}")

    def begin(self, seeds: Mapping[int, int], options: Mapping[int, dict[str, Any]] | None) -> None:
        """Book that episodes begin."""
        for slot, seed in seeds.items():
            self._seeds[slot] = seed
            self._changed[slot] = "began with options" if options and options.get(slot) else ""
            self._executed[slot] = []
        self._running |= seeds.keys()

    def given(self, slots: Iterable[int]) -> None:
        """Book that episodes were given a task while they run."""
        for slot in slots:
            self._changed[slot] = "was given a task since"

    def book(self, slot: int, chunks: Array, steps: int) -> None:
        """Book that a slot executed so many steps of its chunk in `chunks` (B, H, A), which must not change later."""
        self._executed[slot].append((chunks, steps))

    def executed(self, slot: int) -> Array:
        """Return the actions (T, A) that a slot has executed since its episode began."""
        none = np.zeros((0, self.width), np.float32)
        return np.concatenate([none, *(chunks[slot, :steps] for chunks, steps in self._executed[slot])])

    def end(self, slot: int) -> None:
        """Book that the episode in a slot is over."""
        self._running.discard(slot)

    def forget(self) -> None:
        """Leave all slots without an episode."""
        self._seeds, self._changed = [-1] * self.slots, [""] * self.slots
        self._executed = [[] for _ in self._all]
        self._running.clear()

    def state(self, observations: Observations) -> dict[str, Array]:
        """Return the seeds (-1: no episode), the executed actions, and what the slots show now but for pictures.

        Raises:
            LaminarError: an episode cannot be replayed; says why.
        """
        for slot, reason in enumerate(self._changed):
            if reason and slot in self._running:
                raise LaminarError(f"the episode in slot {slot} of '{self.env_id}' {reason}, so it cannot be resumed")
        # One that is over and cannot be replayed is left out: its slot has to be reset anyway.
        seeds = [-1 if reason else seed for seed, reason in zip(self._seeds, self._changed, strict=True)]
        executed = [self.executed(slot)[: 0 if self._changed[slot] else None] for slot in self._all]
        shown = {SHOWN + key: rows.copy() for key, rows in observations.items() if rows.dtype != np.uint8}
        return {
            "seeds": np.array(seeds, np.int64),
            "running": np.array([slot in self._running for slot in self._all]),
            "lengths": np.array([len(rows) for rows in executed], np.int64),
            "actions": np.concatenate(executed),
            **shown,
        }

    def check_replayed(self, state: Mapping[str, Array], observations: Observations) -> None:
        """Raise LaminarError unless the slots stand where they stood in `state`."""
        for slot in np.flatnonzero(state["seeds"] >= 0).tolist():
            if (slot in self._running) != bool(state["running"][slot]):
                raise self.differs(slot, "its end")
            for key, rows in observations.items():
                stored = state.get(SHOWN + key)
                if stored is not None and not np.array_equal(stored[slot], rows[slot], equal_nan=True):
                    raise self.differs(slot, f"observation '{key}'")

    def differs(self, slot: int, what: str) -> LaminarError:
        """Return the error for an episode that came out otherwise."""
        return LaminarError(
            f"the episode in slot {slot} of '{self.env_id}' did not repeat itself: {what} differs after the same "
            "actions; the simulator is not deterministic or of another version, so begin new episodes"
        )


def replay(world: World, ledger: Ledger, state: Mapping[str, Array]) -> Observations:
    """Bring a world to the state that its ledger returned: see `World.load_state`."""
    _check(ledger, state)
    seeds, lengths = state["seeds"].tolist(), state["lengths"]
    rows = np.split(state["actions"], np.cumsum(lengths)[:-1])
    ledger.forget()
    observations = world.reset({slot: seed for slot, seed in enumerate(seeds) if seed >= 0})
    done = np.zeros_like(lengths)
    while len(behind := np.flatnonzero(done < lengths)):
        size = min(int((lengths - done)[behind].min()), LONGEST)
        chunks = np.zeros((ledger.slots, size, ledger.width), np.float32)
        for slot in behind:
            chunks[slot] = rows[slot][done[slot] : done[slot] + size]
        outcome = world.step(chunks, behind.tolist())
        done[behind] += size
        for slot in behind[outcome.ended[behind] & ((outcome.steps < size) | (done < lengths))[behind]].tolist():
            raise ledger.differs(slot, "it ended early and")
        observations = outcome.observation
    ledger.check_replayed(state, observations)
    return observations


def _check(ledger: Ledger, state: Mapping[str, Array]) -> None:
    missing = [key for key in ("seeds", "running", "lengths", "actions") if key not in state]
    if missing:
        raise LaminarError(f"the state of '{ledger.env_id}' lacks {missing}; give what `state()` returned")
    slots, width = len(state["seeds"]), state["actions"].shape[-1]
    if (slots, width) != (ledger.slots, ledger.width):
        raise LaminarError(
            f"the state is of {slots} slots with actions of {width} numbers, '{ledger.env_id}' has {ledger.slots} "
            f"with {ledger.width}; make the world as it was"
        )
