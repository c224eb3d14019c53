"""What the instructions of chains tell besides success: how long they took, where chains end, what was done instead.

An instruction that fails is rarely a hand that does nothing. Which other task was done while it was asked for says
more: the block on the other side was pushed (words or colors are confused), or nothing was (the hand cannot do it).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .scores import Interval, bootstrap, rate

NOTHING = "nothing"  # was done in place of an instruction
SHOWN = 8  # confusions of a table on the terminal


@dataclass(frozen=True)
class Instruction:
    """One instruction of a chain that was begun.

    Attributes:
        task: what was asked for.
        position: in the chain, from 1.
        steps: control steps.
        succeeded: within the limit.
        also_done: other task -> control steps until it was first done meanwhile; None where the room does not tell.
    """

    task: str
    position: int
    steps: int
    succeeded: bool
    also_done: Mapping[str, int] | None = None

    @property
    def instead(self) -> str | None:
        """The other task that was done first, or `NOTHING`; None of one that succeeded, and where it is not told."""
        if self.succeeded or self.also_done is None:
            return None
        return min(self.also_done.items(), key=lambda done: done[1], default=(NOTHING, 0))[0]


@dataclass(frozen=True)
class Confusion:
    """How often one task was asked for and another one, or nothing, was done instead.

    Attributes:
        asked: the task.
        instead: the other task that was done first, or `NOTHING`.
        times: how often.
        share: of the failures of the task.
    """

    asked: str
    instead: str
    times: int
    share: float


@dataclass(frozen=True)
class Position:
    """How instructions went at one place in the chains.

    Attributes:
        number: place in the chain, from 1.
        begun: chains that came so far.
        failed: those of them that ended here.
        share: of all chains that failed anywhere, those that failed here; None where none failed.
    """

    number: int
    begun: int
    failed: int
    share: float | None

    @property
    def success(self) -> Interval:
        """Success rate of the instructions that were begun here, with Wilson's interval; one alone has none."""
        return rate(self.begun - self.failed, self.begun)

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        figures = {"position": self.number, "begun": self.begun, "failed": self.failed}
        return figures | {"share_of_failures": self.share, "success": self.success.to_json()}


def confusions(instructions: Iterable[Instruction]) -> list[Confusion]:
    """Return what was done in place of each task, the most frequent first; empty where rooms do not tell."""
    pairs = [(one.task, one.instead) for one in instructions if one.instead is not None]
    failures = Counter(asked for asked, _ in pairs)
    found = [Confusion(*pair, count, count / failures[pair[0]]) for pair, count in Counter(pairs).items()]
    return sorted(found, key=lambda one: (-one.times, one.asked, one.instead))


def task_steps(instructions: Iterable[Instruction]) -> dict[str, Interval]:
    """Return task -> mean control steps until it was done, of the attempts that succeeded, in alphabetical order."""
    steps: defaultdict[str, list[int]] = defaultdict(list)
    for one in instructions:
        if one.succeeded:
            steps[one.task].append(one.steps)
    return {task: bootstrap(steps[task]) for task in sorted(steps)}


def positions(instructions: Iterable[Instruction]) -> list[Position]:
    """Return how instructions went at each place that a chain came to."""
    begun: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    for one in instructions:
        begun[one.position] += 1
        failed[one.position] += not one.succeeded
    ended = failed.total()
    return [
        Position(number, begun[number], failed[number], failed[number] / ended if ended else None)
        for number in sorted(begun)
    ]


def confusion_json(found: Iterable[Confusion]) -> dict[str, dict[str, int]]:
    """Return asked -> done instead -> times, in the order of the table."""
    table: dict[str, dict[str, int]] = {}
    for one in found:
        table.setdefault(one.asked, {})[one.instead] = one.times
    return table


def confusion_lines(found: list[Confusion]) -> list[str]:
    """Return the most frequent confusions as a table for a terminal; no lines where there are none."""
    if not found:
        return []
    shown = found[:SHOWN]
    width = max(len(one.asked) for one in shown) + 2
    wide = max(len(one.instead) for one in [*shown, Confusion("", "done instead", 0, 0)]) + 2
    lines = [f"  {'asked':{width}}{'done instead':{wide}}times"]
    lines += [f"  {one.asked:{width}}{one.instead:{wide}}{one.times:5}" for one in shown]
    return lines + ([f"  and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])
