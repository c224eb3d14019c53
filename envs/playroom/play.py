"""Free play: chains of skills with pauses, detours and second attempts, and which task each stretch of it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.calvin.writer import Annotation
from ...data.instructions import SENTENCES
from .experts import script
from .experts.grasping import put, retreat, table_spot
from .experts.hand import CLOSED, Hand, Motion
from .feasible import feasible, held_block, lost_block
from .seen import SeenRoom

Array = NDArray[Any]

PATIENCE = 180  # control steps of one attempt
SHORTEST = 16  # frames of a window; CALVIN's loaders cut windows of 16 to 32 frames
TAIL = 4  # frames that a window goes on after the task is done
_TRIES = 2  # attempts at a task before another is chosen
_PAUSE, _WANDER, _HESITATE = 0.12, 0.10, 0.06  # probabilities, before every skill
# How much likelier a task is chosen, by the first of these parts that its name has: what is seldom possible must be
# done when it is.
_SCARCITY = {"block_drawer": 8.0, "push": 6.0, "rotate": 3.0, "stack": 2.0, "lift": 2.0}
_FAVORITE = 10.0  # how much likelier the favorite task is
_FINISH = 0.4  # probability that a motion goes on to its end after the task is done
_SHUT = 0.005  # meters between fingers that hold nothing
_SPACE = ((-0.25, -0.32, 0.52), (0.30, -0.08, 0.68))  # meters, where the hand wanders


class Player:
    """Plays in a room until a block is lost.

    Attributes:
        favorite: the task that is chosen most, as far as it is possible.
        windows: what was done so far, in the order of the frames.
        attempts, failures: task -> number.
        time: control steps so far.
    """

    def __init__(self, room: SeenRoom, random: np.random.Generator, favorite: str) -> None:
        """Take the room as it is."""
        self.room, self.random, self.favorite = room, random, favorite
        self.windows: list[Annotation] = []
        self.attempts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.time = 0

    def actions(self, steps: int) -> Motion:
        """Yield relative actions (7,); each must be executed before the next is asked for.

        Play ends with the attempt in which `steps` control steps are over, or when a block is lost.
        """
        while self.time < steps and lost_block(self.room.snapshot()) is None:
            before = self.time
            yield from self._whim()
            now = self.room.snapshot()
            tasks = feasible(self.room.layout, now)
            held = held_block(now)
            if held and (not tasks or self.random.random() < 1 / (1 + len(tasks))):
                yield from self._do(self._put_back(held, Hand(self.room, self.random)))
            elif tasks:
                yield from self._skill(self._choose(tasks))
            if self.time == before:  # whatever the reason, time must go on
                yield from self._do(Hand(self.room, self.random).wait(5))

    def _choose(self, tasks: tuple[str, ...]) -> str:
        """Draw a task, the likelier the less often it was tried in this episode."""
        weights = np.array([(1.0 + self.attempts[task]) ** -2 for task in tasks])
        weights *= [next((factor for part, factor in _SCARCITY.items() if part in task), 1.0) for task in tasks]
        weights *= [_FAVORITE if task == self.favorite else 1.0 for task in tasks]
        return tasks[int(self.random.choice(len(tasks), p=weights / weights.sum()))]

    def _skill(self, task: str) -> Motion:
        """Try a task, and again if that fails."""
        for _ in range(_TRIES):
            if (yield from self._attempt(task)) or task not in feasible(self.room.layout, self.room.snapshot()):
                return

    def _attempt(self, task: str) -> Generator[Array, None, bool]:
        """Do a task once and note the window; return whether it was done."""
        self.attempts[task] += 1
        begin, done = self.time, self.room.watch(task)
        hand = Hand(self.room, self.random)
        motion = chain(leave(hand), script(task, hand))
        for action in islice(motion, PATIENCE):
            yield from self._do(iter((action,)))
            if done():
                break
        else:
            self.failures[task] += 1
            return False
        end = max(self.time + TAIL, begin + SHORTEST)
        sentence = str(self.random.choice(SENTENCES[task]))
        self.windows.append(Annotation(begin, end, task, sentence))
        steps = PATIENCE if self.random.random() < _FINISH else end - self.time
        yield from self._do(islice(motion, steps))
        yield from self._do(hand.wait(max(0, end - self.time)))
        return True

    def _do(self, motion: Motion) -> Motion:
        for action in motion:
            yield action
            self.time += 1

    def _whim(self) -> Motion:
        """Sometimes pause, move about, or begin something and leave it."""
        hand, whim = Hand(self.room, self.random), self.random.random()
        if whim < _PAUSE:
            yield from self._do(hand.wait(int(self.random.integers(3, 20))))
        elif whim < _PAUSE + _WANDER:
            place, turn = self.random.uniform(*_SPACE), self.random.uniform(-0.5, 0.5)
            yield from self._do(chain(leave(hand), hand.go(place, np.pi / 2 + turn, tolerance=0.03)))
        elif whim < _PAUSE + _WANDER + _HESITATE:
            tasks = feasible(self.room.layout, self.room.snapshot())
            if tasks:
                motion = chain(leave(hand), script(str(self.random.choice(tasks)), hand))
                yield from self._do(islice(motion, int(self.random.integers(8, 30))))

    def _put_back(self, color: str, hand: Hand) -> Motion:
        """Lay the held block on the table."""
        yield from retreat(hand)
        yield from put(hand, color, table_spot(hand, color))


def leave(hand: Hand) -> Motion:
    """Let go, unless a block is held, and rise to where the way to anywhere is free."""
    if held_block(hand.room.snapshot()) is None and hand.gripper == CLOSED and hand.room.opening() > _SHUT:
        yield from hand.open(5)
    yield from retreat(hand)
