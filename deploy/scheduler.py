"""Which action belongs to this moment, while chunks come late, overlap, or do not come at all.

The actions of a chunk have times: the first is for the observation that the chunk was made of, each later one a period
after. What is over when a chunk arrives is read off the clock and off what was handed out, never from a latency that
was measured before: elsewhere a slow first call cost actions ever after, and the first chunk after a standstill lost
those that nobody had executed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError

Actions = NDArray[np.float64]
MERGES = ("replace", "append", "ensemble")
_TOLERANCE = 0.75  # periods that a loop may be early or late for its next slot


@dataclass(frozen=True)
class Dated:
    """A chunk, and when its actions are due.

    Attributes:
        actions: (H, A).
        start: time of the first one: that of the observation.
        epoch: episode that it belongs to.
    """

    actions: Actions
    start: float
    epoch: int


class ChunkScheduler:
    """Plans one action for each control period, of the chunks that come.

    Control periods are the slots of a grid that begins with the episode: slot k begins at `begin + k * period`.

    Attributes:
        period: seconds.
        merge: what becomes of planned actions when a chunk comes.
        epoch: number of the episode, or of what is wanted in it; a chunk of another one is thrown away.
        over: actions that were over when their chunk came.
        late: chunks of which nothing was left, or of another episode.
        starved: periods that had no action of their own, and repeated the one before.
    """

    def __init__(self, period: float, merge: str = "replace", decay: float = 0.01) -> None:
        """Plan nothing before the first `begin`.

        Args:
            period: seconds between actions.
            merge: what becomes of planned actions when a chunk comes: "replace" them; "append" what is beyond them;
                "ensemble" takes the mean of all chunks that speak of a slot (Zhao et al. 2023, ACT).
            decay: of "ensemble": the i-th oldest chunk weighs exp(-decay i).

        Raises:
            LaminarError: no such way, or a period of nothing.
        """
        if merge not in MERGES:
            raise LaminarError(f"chunks are not merged by '{merge}' (known: {', '.join(MERGES)})")
        if not 0 < period < math.inf:
            raise LaminarError(f"the period must be above 0 s, got {period:g}")
        self.period, self.merge, self.epoch = period, merge, 0
        self.over = self.late = self.starved = 0
        self._decay = decay
        self._begin, self._next = 0.0, 0  # the first slot that was not handed out
        self._still = 0  # the slot before which nothing has moved
        self._asked_last: int | None = None  # slot that the loop asked for last
        self._newest = -math.inf  # time of the newest chunk
        self._plan: dict[int, Actions] = {}  # slot -> (A,)
        self._said: dict[int, list[Actions]] = {}  # slot -> what chunks said of it, the oldest first
        self._last: Actions | None = None  # (A,) that was handed out last
        self._renewed = False  # whether what is planned gives way to the next chunk

    def begin(self, now: float) -> int:
        """Begin an episode now and forget what was planned; returns its epoch, which its chunks have to carry."""
        self.epoch += 1
        self._begin, self._next, self._still, self._last = now, 0, 0, None
        self._asked_last, self._newest = None, -math.inf
        self._plan, self._said, self._renewed = {}, {}, False
        return self.epoch

    def renew(self) -> int:
        """Let what is planned go on until a chunk of the epoch that is returned takes its place, however they merge."""
        self.epoch += 1
        self._renewed = True
        return self.epoch

    def slot(self, time: float) -> int:
        """Return the slot whose beginning is nearest to a time.

        Raises:
            LaminarError: the time is not finite.
        """
        if not math.isfinite(time):
            raise LaminarError(f"a time must be finite, got {time}")
        return round((time - self._begin) / self.period)

    def due(self, now: float) -> float:
        """Return the time of the action that `pop` hands out now: when its slot begins, as exactly as a loop is."""
        return now if self._asked_last is None else self._begin + self._slot_of(now) * self.period

    def add(self, chunk: Dated) -> bool:
        """Take a chunk; returns whether any of its actions is still to come.

        One that was made while nothing had moved yet begins where the motion does, however long it took.

        Raises:
            LaminarError: it has no actions, or one that is not finite; what was planned stays.
        """
        if chunk.actions.ndim != 2 or not len(chunk.actions) or not np.isfinite(chunk.actions).all():
            raise LaminarError(f"a chunk needs finite actions (H, A), got shape {chunk.actions.shape}")
        first = max(self.slot(chunk.start), self._still)
        over = min(max(0, self._next - first), len(chunk.actions))
        overtaken = chunk.start < self._newest and self.merge != "ensemble"
        if chunk.epoch != self.epoch or over == len(chunk.actions) or overtaken:
            self.late += 1
            return False
        self.over += over
        if self._renewed:
            self._plan, self._said, self._renewed = {}, {}, False
        self._newest = max(self._newest, chunk.start)
        self._forget(first)  # what was before the newest observation is over, whoever asks for it or not
        actions = np.array(chunk.actions)
        fresh = {first + step: actions[step] for step in range(over, len(actions))}
        if self.merge == "append":
            self._plan = fresh | self._plan
        elif self.merge == "replace":
            self._plan = fresh
        else:
            for slot, action in fresh.items():
                self._said[slot] = [*self._said.get(slot, ()), action][-len(actions) :]
                self._plan[slot] = self._mean(self._said[slot])
        return True

    def _forget(self, before: int) -> None:
        """Drop what is planned for slots before one."""
        self._plan = {one: planned for one, planned in self._plan.items() if one >= before}
        self._said = {one: said for one, said in self._said.items() if one >= before}

    def _mean(self, said: list[Actions]) -> Actions:
        weights = np.exp(-self._decay * np.arange(len(said)))
        return (weights / weights.sum()) @ np.array(said)

    def planned(self, time: float | None = None) -> Actions:
        """Return (n, A) what is planned without a gap, from the slot of a time on; None: from the next one on."""
        first, found = self._next if time is None else self.slot(time), list[Actions]()
        while first + len(found) in self._plan:
            found.append(self._plan[first + len(found)])
        return np.array(found)

    def pop(self, now: float) -> Actions | None:
        """Return the action (A,) of the slot that begins now; None before the first chunk.

        Actions of slots that nobody asked for are over. A slot without an action of its own gets the last one again.
        """
        slot = self._asked(now)
        action = self._plan.get(slot)
        if action is None and self._last is None and self._plan and max(self._plan) < slot:
            self.late += 1  # a first chunk that came when all of it was over
        self.starved += action is None and self._last is not None
        self._last = self._last if action is None else action
        if action is not None or self._last is not None:  # before the first chunk nothing is over: it is waited for
            self._next = max(self._next, slot + 1)
        else:
            self._still = slot + 1
        self._forget(slot + 1)
        return None if self._last is None else self._last.copy()

    def _asked(self, now: float) -> int:
        """Return the slot that a loop asks for: the next one, unless its clock is far away from that.

        The grid is moved to where the loop asks first, so that jitter about half a period takes no slot twice and
        leaves none out.
        """
        slot = self._slot_of(now)
        if self._asked_last is None:
            self._begin = now - slot * self.period
        self._asked_last = slot
        return slot

    def _slot_of(self, now: float) -> int:
        if self._asked_last is not None:
            following = self._asked_last + 1
            if abs(now - self._begin - following * self.period) < _TOLERANCE * self.period:
                return following
        return self.slot(now)
