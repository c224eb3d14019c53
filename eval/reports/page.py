"""A page: what is on it, told once, and written twice, as Markdown for a terminal and as HTML for a browser.

A report lists blocks and calls `write_page` (`written.py`). All text is plain: names of files and tasks may contain
anything, and the two writers escape it. What is emphasized or literal is said by a type (`Strong`, `Code`), never by
characters in a text.

    page = Page("Evaluation in door-human-v1", [
        Paragraph("50 episodes, one a seed."),
        figures({"success rate": (rate, RATE), "return": (mean, "")}),
        Heading("What was measured"),
        Facts({"policy": Code("runs/door"), "seeds": "0 to 49"}),
        Picture("Returns", folder / "returns.png"),
    ])
    write_page(folder, page)    # report.md and report.html, which embeds the picture

A new kind of block is a dataclass here, and a case in `as_markdown.py` and in `as_html.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..results.scores import Interval


@dataclass(frozen=True)
class Strong:
    """Emphasized text."""

    text: str


@dataclass(frozen=True)
class Code:
    """Literal text: a path, a hash, a command."""

    text: str


@dataclass(frozen=True)
class Mark:
    """Yes (✓), no (✗) or not known (–)."""

    good: bool | None


@dataclass(frozen=True)
class Gauge:
    """A rate on an axis from 0 to 1, with its interval where it has one."""

    rate: Interval


Inline = str | Strong | Code | Mark | Gauge
Words = Inline | tuple[Inline, ...]
"""A piece of text, or several that follow each other without a space."""


@dataclass(frozen=True)
class Heading:
    """The title of what follows."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Text."""

    words: Words


@dataclass(frozen=True)
class Note:
    """Text that a reader of the figures must not overlook."""

    words: Words


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[Words]


@dataclass(frozen=True)
class Facts:
    """Names and what they stand for."""

    facts: Mapping[str, Words]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head.

    Attributes:
        head: one cell a column.
        rows: as wide as the head.
        left: columns of text, from the left; the others hold numbers.
    """

    head: Sequence[Words]
    rows: Sequence[Sequence[Words]]
    left: int = 1


@dataclass(frozen=True)
class Picture:
    """A picture that lies in the page's folder.

    Attributes:
        title: its heading.
        file: PNG.
        caption: what is to be seen, below it.
    """

    title: str
    file: Path
    caption: Words = ""


@dataclass(frozen=True)
class Video:
    """A film that lies in the page's folder; the page refers to it and does not contain it."""

    title: str
    file: Path


@dataclass(frozen=True)
class Outcomes:
    """Success of several policies, seed by seed.

    Attributes:
        seeds: N numbers.
        rows: policy -> (N,) whether it succeeded, None where that is not known.
        head: over the names of the rows.
    """

    seeds: Sequence[int]
    rows: Mapping[str, Sequence[bool | None]]
    head: str = "policy"


Block = Heading | Paragraph | Note | Bullets | Facts | Table | Picture | Video | Outcomes


@dataclass(frozen=True)
class Page:
    """A title, and blocks below it."""

    title: str
    blocks: Sequence[Block]


RATE = "rate"
"""Unit of a figure between 0 and 1, which `figures` draws on that axis."""


def figures(named: Mapping[str, tuple[Interval, str]], what: str = "figure") -> Table:
    """Return the table of figures (name -> interval and unit) with their intervals, rates on an axis from 0 to 1."""
    rates = any(unit == RATE for _, unit in named.values())
    head: list[Words] = [what, "mean", "low", "high", *(["0 to 1"] if rates else [])]
    rows: list[list[Words]] = []
    for name, (interval, unit) in named.items():
        label = name if unit in ("", RATE) else f"{name} ({unit})"
        gauge: list[Words] = [Gauge(interval) if unit == RATE else ""] if rates else []
        rows.append([label, *interval.cells, *gauge])
    return Table(head, rows)


def plain(text: str) -> str:
    """Return a text on one line that any file can hold: control characters and broken Unicode are shown as escapes."""
    shown = "".join(repr(letter)[1:-1] if ord(letter) < 32 or ord(letter) == 127 else letter for letter in text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def pieces(words: Words) -> tuple[Inline, ...]:
    """Return the pieces of a text."""
    return words if isinstance(words, tuple) else (words,)
