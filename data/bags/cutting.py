"""Where the episodes of a bag begin and end, by marks of the operator, or else by pauses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from .actions import Act
from .told import Told
from .words import BEGIN, OUTCOMES, RUNNING, STATES, first_word

_PAUSE = 1.0  # seconds without an action that end an episode


@dataclass
class Stretch:
    """Actions that follow each other.

    Attributes:
        acts: at least one.
        outcome: the mark that ended it; "" where none did.
        end: seconds of that mark; infinite where there is none.
        goes_on: whether the same episode has an earlier stretch.
    """

    acts: list[Act] = field(default_factory=lambda: [])
    outcome: str = ""
    end: float = float("inf")
    goes_on: bool = False


@dataclass
class _Cutter:
    """What is known while one goes through a bag."""

    marked: bool  # whether episodes begin where a mark says so
    done: list[Stretch] = field(default_factory=lambda: [])
    open: Stretch | None = None
    running: bool = True
    outside: int = 0  # actions that belong to no episode
    still: int = 0  # actions while the supervisor held the robot
    pauses: int = 0
    corrected: int = 0
    unknown: dict[str, int] = field(default_factory=lambda: {})

    def act(self, act: Act) -> None:
        if not self.running:
            self.still += 1
            self._split()
        elif self.open is None and self.marked:
            self.outside += 1
        else:
            self.open = self.open or Stretch()
            if self.open.acts and abs(act.seconds - self.open.acts[-1].seconds) > _PAUSE:
                self.pauses += 1
                self._split()
            self.open.acts.append(act)

    def mark(self, text: str, seconds: float) -> None:
        word = first_word(text)
        if word == BEGIN:
            self._close()
            self.open = Stretch()
        elif word not in OUTCOMES:
            self.unknown[text] = self.unknown.get(text, 0) + 1
        elif self.open is not None:
            self.open.outcome, self.open.end = word, seconds
            self._close()
        elif self.done and self.done[-1].outcome not in ("", word):
            self.corrected += 1
            self.done[-1].outcome = word

    def state(self, text: str) -> None:
        word = first_word(text)
        if word in STATES:
            self.running = word == RUNNING

    def finish(self) -> list[Stretch]:
        self._close()
        return self.done

    def _split(self) -> None:
        """Let what goes on be another stretch of the same episode."""
        if self.open is not None and self.open.acts:
            self.done.append(self.open)
            self.open = Stretch(goes_on=True)

    def _close(self) -> None:
        if self.open is not None and self.open.acts:
            self.done.append(self.open)
        elif self.open is not None and self.open.goes_on:
            self.done[-1].outcome, self.done[-1].end = self.open.outcome, self.open.end
        self.open = None


def cut(told: Told, acts: Sequence[Act], remarks: list[str]) -> list[Stretch]:
    """Return the stretches that episodes are made of, and tell what was decided."""
    cutter = _Cutter(marked=any(first_word(text) == BEGIN for _, text in told.marks))
    events: list[tuple[int, Callable[[], None]]] = [
        *((place, partial(cutter.state, text)) for place, text in told.states),
        *((place, partial(cutter.mark, text, told.seconds(place))) for place, text in told.marks),
        *((act.place, partial(cutter.act, act)) for act in acts),
    ]
    for _, event in sorted(events, key=lambda event: event[0]):
        event()
    found = cutter.finish()
    _remark(cutter, told, remarks)
    return found


def _remark(cutter: _Cutter, told: Told, remarks: list[str]) -> None:
    if not cutter.marked and not told.marks:
        remarks.append(f"no marks of episodes: one ends where no action comes for {_PAUSE:g} s, and none is a success")
    elif cutter.pauses:
        remarks.append(f"{cutter.pauses} pauses of more than {_PAUSE:g} s without an action cut episodes in two")
    if cutter.outside:
        remarks.append(f"{cutter.outside} actions before a '{BEGIN}' or after an end belong to no episode")
    if cutter.still:
        remarks.append(f"{cutter.still} actions while the robot was held are left out, and cut the episode")
    if cutter.corrected:
        remarks.append(f"{cutter.corrected} episodes were marked again after their end: the last mark counts")
    for text, count in cutter.unknown.items():
        remarks.append(f"not read, {count} marks {text!r:.60}: known are {BEGIN}, {', '.join(OUTCOMES)}")
