"""How work in progress is shown: one bar on a terminal, a rare line elsewhere, always on the standard error.

Who does the work takes a `Progress`, opens it and tells of each piece that is finished::

    with progress(50) as watch:
        ...
        watch(Finished({"success": 1.0}))

`silent`, the default everywhere, shows nothing; `bar` is what the command line passes. Any other function of that form
follows the work in its own way, as a window or a notebook might.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from tqdm import tqdm

EVERY = 30.0  # seconds between lines where there is no terminal
_REDRAWN = 0.5  # seconds, at least, between two pictures of a bar
_WIDE = 80  # columns of a terminal on which titles are not shortened


@dataclass(frozen=True)
class Finished:
    """A piece of work that is done.

    Attributes:
        figures: what came of it, the most telling first, such as {"success": 1.0, "return": 83.2} of an episode.
        count: how much of the total it is.
    """

    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    count: int = 1


Watch = Callable[[Finished], None]


class Progress(Protocol):
    """Follows pieces of work."""

    def __call__(self, total: int, unit: str = "episode", title: str = "") -> AbstractContextManager[Watch]:
        """Begin with so many pieces; what it yields is called with each one that is finished."""
        ...


def ignore(done: Finished) -> None:
    """Watch nothing."""


def silent(total: int, unit: str = "episode", title: str = "") -> AbstractContextManager[Watch]:
    """Show nothing."""
    return nullcontext(ignore)


@contextmanager
def bar(
    total: int, unit: str = "episode", title: str = "", clock: Callable[[], float] = time.monotonic
) -> Generator[Watch]:
    """Show how much is done and the mean of the first figure so far; a bar is gone once the work is finished."""
    told: dict[str, tuple[float, int]] = {}  # sum and number

    def watch(done: Finished) -> None:
        name, value = next(iter(done.figures.items()), ("", 0.0))
        total, number = told.get(name, (0.0, 0))
        told[name] = total, number = total + value, number + 1
        shown.advance(done.count, f"{name} {total / number:.3g}" if name else None)

    with closing(meter(total, unit, title, clock=clock)) as shown:
        yield watch


class Meter:
    """Counts what is done; this one shows nothing."""

    def advance(self, count: int, note: str | None = None) -> None:
        """Add what was done; a note, once given, stays until the next one."""

    def close(self) -> None:
        """Show nothing more."""


def meter(
    total: int,
    unit: str,
    title: str = "",
    initial: int = 0,
    stays: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Meter:
    """Return what suits the standard error: a bar, lines, or nothing where there is none.

    Args:
        total: pieces of work.
        unit: name of one.
        title: of the work.
        initial: pieces that were done before.
        stays: a bar stays on the terminal when it is closed.
        clock: seconds, for the lines.
    """
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  # closed by `2>&-`
        return Meter()
    if sys.stderr.isatty():
        return _Bar(total, unit, title, initial, stays)
    return _Lines(total, unit, title, initial, clock)


class _Bar(Meter):
    """A bar of tqdm below those that are open already."""

    open = 0

    def __init__(self, total: int, unit: str, title: str, initial: int, stays: bool) -> None:
        self._bar: Any = tqdm(
            total=total,
            unit=unit,
            desc=_heading(title),
            initial=initial,
            leave=stays,
            bar_format="{desc}{n_fmt}/{total_fmt}{postfix}, {elapsed}<{remaining}, {rate_fmt} |{bar}|",
            dynamic_ncols=True,
            mininterval=_REDRAWN,
            miniters=1,
            file=sys.stderr,
        )
        _Bar.open += 1

    def advance(self, count: int, note: str | None = None) -> None:
        if note is not None:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)

    def close(self) -> None:
        self._bar.close()
        _Bar.open -= 1


def _heading(title: str) -> str:
    """Return a title that leaves room for the numbers behind it."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        columns = _WIDE
    most = len(title) if columns >= _WIDE else columns // 3
    return f"{title if len(title) <= most else title[: most - 1] + '…'}: " if title else ""


class _Lines(Meter):
    """A line now and then; none of work that is done before the first is due."""

    def __init__(self, total: int, unit: str, title: str, initial: int, clock: Callable[[], float]) -> None:
        self._total, self._done, self._initial = total, initial, initial
        self._unit, self._heading = unit, f"{title}: " if title else ""
        self._clock, self._note = clock, ""
        self._begin = self._last = clock()

    def advance(self, count: int, note: str | None = None) -> None:
        self._done += count
        self._note = self._note if note is None else note
        now = self._clock()
        if now - self._last < EVERY or self._done >= self._total:
            return
        self._last, new = now, self._done - self._initial
        left = (now - self._begin) / new * (self._total - self._done)
        note = f", {self._note}" if self._note else ""
        tell(f"{self._heading}{self._done:,} of {self._total:,} {self._unit}s{note}, about {duration(left)} left")


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print a line above whatever bars are open, to the standard error or another stream."""
    stream = sys.stderr if stream is None else stream
    if stream is None:  # pyright: ignore[reportUnnecessaryComparison]
        return
    with tqdm.external_write_mode(stream) if _Bar.open else nullcontext():
        print(text, file=stream, flush=True)


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 35 min, 3.5 h, 4 days."""
    for size, unit, most, digits in ((1, "s", 90, 0), (60, "min", 90, 0), (3600, "h", 48, 1)):
        if seconds < most * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86400:.0f} days"
