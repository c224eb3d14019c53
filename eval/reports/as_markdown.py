"""A page as Markdown that is readable as it is: tables are aligned, rates are drawn with letters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from urllib.parse import quote

from .page import (
    Block,
    Bullets,
    Code,
    Facts,
    Gauge,
    Heading,
    Inline,
    Mark,
    Note,
    Outcomes,
    Page,
    Paragraph,
    Picture,
    Strong,
    Table,
    Video,
    Words,
    pieces,
    plain,
)

_WIDTH = 21  # letters of an axis from 0 to 1: one for every 0.05
_MARKS = {True: "✓", False: "✗", None: "–"}
_GROUP = 10  # marks without a space in between


def as_markdown(page: Page) -> str:
    """Return a whole page."""
    return "\n".join([f"# {_heading(page.title)}", "", *blocks_as_markdown(page.blocks)])


def blocks_as_markdown(blocks: Sequence[Block]) -> list[str]:
    """Return the lines of blocks, each with an empty one after it."""
    return [line for block in blocks for line in (*_block(block), "")]


def _block(block: Block) -> list[str]:
    match block:
        case Heading(text):
            return [f"## {_heading(text)}"]
        case Paragraph(words):
            return [_line(words)]
        case Note(words):
            return [f"Note: {_text(words)}"]
        case Bullets(items):
            return [f"- {_line(item)}" for item in items]
        case Facts(facts):
            return [f"- {_line(name)}: {_text(words)}" for name, words in facts.items()]
        case Table():
            return _table(block)
        case Picture(title, file, caption):
            return [
                f"## {_heading(title)}",
                "",
                f"![{_label(title)}]({quote(file.name)})",
                *(["", _line(caption)] if caption else []),
            ]
        case Video(title, file):
            return [f"[{_label(title)}]({quote(file.name)})"]
        case Outcomes():
            return _outcomes(block)


def _table(table: Table) -> list[str]:
    rows = [[_text(cell, table=True) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(table.head))]
    rule = ["-" * width if column < table.left else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    lines = [rows[0], rule, *rows[1:]]
    return [f"| {' | '.join(_padded(line, widths, table.left))} |" for line in lines]


def _padded(cells: Sequence[str], widths: Sequence[int], left: int) -> list[str]:
    pairs = enumerate(zip(cells, widths, strict=True))
    return [cell.ljust(width) if column < left else cell.rjust(width) for column, (cell, width) in pairs]


def _outcomes(block: Outcomes) -> list[str]:
    """Return one row a policy, its marks in the order of the seeds."""
    seeds = block.seeds
    shown = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    rows = []
    for name, told in block.rows.items():
        marks = [iter(_MARKS[one] for one in told)] * _GROUP
        rows.append([name, " ".join("".join(group) for group in zip_longest(*marks, fillvalue=""))])
    return _table(Table([block.head, shown], rows, left=2))


def _text(words: Words, table: bool = False) -> str:
    return "".join(_piece(piece, table) for piece in pieces(words))


def _line(words: Words) -> str:
    """Return a text that begins a line, where some letters would make a list or a heading of it."""
    text = _text(words).lstrip()
    begins_with_text = isinstance(pieces(words)[0], str)
    return re.sub(r"^([#>+=-]|\d+(?=[.)]( |$)))", _behind, text) if begins_with_text else text


def _behind(found: re.Match[str]) -> str:
    return f"{found[0]}\\" if found[0][0].isdigit() else f"\\{found[0]}"


def _piece(piece: Inline, table: bool) -> str:
    match piece:
        case Strong(text):
            return f"**{_escaped(text.strip())}**"
        case Code(text):
            return _code(text, table)
        case Mark(good):
            return _MARKS[good]
        case Gauge():
            return _code(_gauge(piece), table)
        case _:
            return _escaped(piece)


def _gauge(gauge: Gauge) -> str:
    """Return for example ``0 ·········├──●─┤···· 1``."""
    low, mean, high = (round(value * (_WIDTH - 1)) for value in (gauge.rate.low, gauge.rate.mean, gauge.rate.high))
    letters = ["─" if low < place < high else "·" for place in range(_WIDTH)]
    if not gauge.rate.none:
        letters[low], letters[high] = "├", "┤"
    letters[mean] = "●"
    return f"0 {''.join(letters)} 1"


def _escaped(text: str) -> str:
    """Return text in which no letter means anything to Markdown; what reads the same without a backslash has none."""
    text = re.sub(r"[\\`*<|~$]", r"\\\g<0>", plain(text))
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # inside of a word it is a letter
    text = re.sub(r"\](?=[(\[:])", r"\\]", text)  # only so would it end a link
    return re.sub(r"&(?=#?\w+;)", r"\\&", text)


def _heading(text: str) -> str:
    """Return the text of a heading, at whose end number signs would not be shown."""
    return re.sub(r"#(?=#*\s*$)", r"\\#", _escaped(text))


def _label(text: str) -> str:
    """Return text between the brackets of a link or a picture."""
    return re.sub(r"(?<!\\)[\[\]]", r"\\\g<0>", _escaped(text))


def _code(text: str, table: bool) -> str:
    text = plain(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text[:1] in ("`", " ", "") or text[-1:] in ("`", " ") else ""
    text = text.replace("|", "\\|") if table else text
    return f"{fence}{space}{text}{space}{fence}"
