"""A page as one HTML file that opens without server or network: its pictures are inside, its films lie beside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Sequence
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
)
from .shell import document, escaped

# In the dark a plot's white paper is turned over, and its hues turned back.
_STYLE = """
@media (prefers-color-scheme: dark) { img { filter: invert(0.9) hue-rotate(180deg); } }
body { margin: 0 auto; max-width: 72rem; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
code { font: 0.88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--wash);
  padding: 0.1em 0.3em; border-radius: 4px; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: 0.88rem; }
td:first-child { min-width: 8rem; }
.number { text-align: right; }
td.number { white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.3rem 1.25rem; margin: 1rem 0; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
.note { border-left: 4px solid var(--accent); background: var(--wash); padding: 0.6rem 0.9rem;
  border-radius: 0 6px 6px 0; }
figure { margin: 1rem 0; }
img, video { max-width: 100%; height: auto; border-radius: 6px; background: #fff; display: block; }
video { background: #000; }
figcaption { color: var(--soft); font-size: 0.9rem; margin-top: 0.4rem; max-width: 46rem; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); } .unknown { color: var(--soft); }
.gauge { display: block; width: 11rem; height: 1.35rem; overflow: visible; }
.gauge line { stroke: var(--soft); stroke-width: 1; } .gauge rect { fill: var(--accent); opacity: 0.35; }
.gauge circle { fill: var(--accent); } .gauge text { fill: var(--soft); font-size: 10px; }
.marks { line-height: 1.25; letter-spacing: 0.02em; max-width: 34rem; }
.marks span { display: inline-block; width: 1.1em; text-align: center; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: 0.5rem } }
@media print { body { max-width: none } h2 { break-after: avoid } figure, tr { break-inside: avoid } }
"""


def as_html(page: Page) -> str:
    """Return a whole page.

    Raises:
        OSError: a picture cannot be read.
    """
    body = "\n".join(_block(block) for block in page.blocks)
    return document(page.title, _STYLE, f"<main>\n<h1>{escaped(page.title)}</h1>\n{body}\n</main>")


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{escaped(text)}</h2>"
        case Paragraph(words):
            return f"<p>{_text(words)}</p>"
        case Note(words):
            return f'<p class="note"><strong>Note:</strong> {_text(words)}</p>'
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"
        case Facts(facts):
            listed = (f"<dt>{escaped(name)}</dt><dd>{_text(words)}</dd>" for name, words in facts.items())
            return f"<dl>{''.join(listed)}</dl>"
        case Table():
            return _table(block)
        case Picture():
            return _picture(block)
        case Video():
            return _video(block)
        case Outcomes():
            return _outcomes(block)


def _table(table: Table) -> str:
    texts = {column for row in table.rows for column, cell in enumerate(row) if isinstance(cell, Gauge)}
    texts |= set(range(table.left))
    head = _row(table.head, texts, "th")
    rows = "\n".join(_row(row, texts, "td") for row in table.rows)
    return f'<div class="wide"><table>\n<thead>{head}</thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _row(cells: Sequence[Words], texts: Collection[int], tag: str) -> str:
    shown = ""
    for column, cell in enumerate(cells):
        kind = "" if column in texts else ' class="number"'
        shown += f"<{tag}{kind}>{_text(cell)}</{tag}>"
    return f"<tr>{shown}</tr>"


def _picture(picture: Picture) -> str:
    data = b64encode(picture.file.read_bytes()).decode("ascii")
    caption = f"<figcaption>{_text(picture.caption)}</figcaption>" if picture.caption else ""
    title = escaped(picture.title)
    return f'<h2>{title}</h2>\n<figure><img alt="{title}" src="data:image/png;base64,{data}">{caption}</figure>'


def _video(video: Video) -> str:
    """Return the film with its controls; who mails the page alone is told what is missing by the link."""
    title, link = escaped(video.title), quote(video.file.name)
    film = f'<video controls preload="metadata" src="{link}"></video>'
    return f'<figure>{film}<figcaption>{title}: <a href="{link}">{escaped(video.file.name)}</a></figcaption></figure>'


def _outcomes(block: Outcomes) -> str:
    rows: list[str] = []
    for name, told in block.rows.items():
        marks = "".join(_mark(good, f"seed {seed}") for seed, good in zip(block.seeds, told, strict=True))
        rows.append(f'<tr><td>{escaped(name)}</td><td class="marks">{marks}</td></tr>')
    seeds = f"seeds {block.seeds[0]} to {block.seeds[-1]}" if len(block.seeds) > 1 else f"seed {block.seeds[0]}"
    head = f"<tr><th>{escaped(block.head)}</th><th>{seeds}</th></tr>"
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _mark(good: bool | None, what: str = "") -> str:
    kind, letter, word = {
        True: ("good", "✓", "success"),
        False: ("bad", "✗", "no success"),
        None: ("unknown", "–", "not known"),
    }[good]
    title = f' title="{escaped(f"{what}: {word}")}"' if what else ""
    return f'<span class="{kind}"{title}>{letter}</span>'


def _text(words: Words) -> str:
    return "".join(_piece(piece) for piece in pieces(words))


def _piece(piece: Inline) -> str:
    match piece:
        case Strong(text):
            return f"<strong>{escaped(text)}</strong>"
        case Code(text):
            return f"<code>{escaped(text)}</code>"
        case Mark(good):
            return _mark(good)
        case Gauge():
            return _gauge(piece)
        case _:
            return escaped(piece)


def _gauge(gauge: Gauge) -> str:
    """Return an axis from 0 to 1 in which a unit is 100 wide, with the interval as a bar and the rate as a dot."""
    rate = gauge.rate
    ticks = "".join(f'<line x1="{x}" x2="{x}" y1="6" y2="12"/>' for x in (0, 50, 100))
    span = max(0.0, rate.high - rate.low) * 100
    bar = "" if rate.none else f'<rect x="{rate.low * 100:.2f}" y="4" width="{span:.2f}" height="10" rx="2"/>'
    dot = f'<circle cx="{rate.mean * 100:.2f}" cy="9" r="3.2"/>'
    ends = '<text x="-11" y="12.5">0</text><text x="106" y="12.5">1</text>'
    label = f'role="img" aria-label="{escaped(str(rate))} on an axis from 0 to 1"'
    axis = f'<line x1="0" x2="100" y1="9" y2="9"/>{ticks}'
    return f'<svg class="gauge" viewBox="-14 0 128 18" {label}>{axis}{bar}{dot}{ends}</svg>'
