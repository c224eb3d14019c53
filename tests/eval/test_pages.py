"""Pages: one description, two writers; whatever the text, nothing of it is taken for a command."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laminar.eval.reports.as_html import as_html
from laminar.eval.reports.as_markdown import as_markdown, blocks_as_markdown
from laminar.eval.reports.page import (
    RATE,
    Bullets,
    Code,
    Facts,
    Gauge,
    Heading,
    Mark,
    Note,
    Outcomes,
    Page,
    Paragraph,
    Picture,
    Strong,
    Table,
    Video,
    figures,
)
from laminar.eval.reports.written import write_page
from laminar.eval.results.scores import Interval, wilson

ODD = [
    "<script>alert(1)</script>",
    "a|b`c``d*e*_f_~g~$h$",
    "[link](http://example.org) ![x](y.png) <http://example.org>",
    "&amp; &#60; \"quoted\" 'single'",
    "# heading\n- item\n\n1. one\t\x1b[31m",
    "back\\slash \\* \\",
    "not \udcff UTF-8",
    "ends with ##",
    "a [b] [c]: d",
    "```",
    " ` ",
]
EMPTY = {"meta", "img", "rect", "line", "circle", "br"}


class Reader(HTMLParser):
    """Checks that tags are closed in order; keeps text, tags and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not any(name.startswith("on") for name, _ in attrs), "a page needs no script"
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def whole(folder: Path, text: str = "text") -> Page:
    """Return a page with every kind of block, a text wherever there is one."""
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "picture.png")
    rate = wilson(8, 10)
    return Page(
        text,
        [
            Heading(text),
            Paragraph((text, " ", Strong(text), " ", Code(text), Mark(True), Mark(None))),
            Note(text),
            Bullets([text, Code(text)]),
            Facts({text: (text, Code(text))}),
            Table([text, "number"], [[Code(text), "1"], [text, Gauge(rate)]]),
            figures({text: (rate, RATE), "other": (Interval.missing(3.0, "a single one"), "m/s")}),
            Outcomes([3, 4, 5], {text: [True, False, None]}),
            Picture(text, folder / "picture.png", text),
            Video(text, folder / "film (1)#?.mp4"),
        ],
    )


@pytest.mark.parametrize("odd", ODD)
def test_html_is_well_formed_whatever_the_text(odd: str, tmp_path: Path) -> None:
    plain, strange = (read(as_html(whole(tmp_path, text))) for text in ("text", odd))
    assert strange.tags == plain.tags, "no text became a tag"
    assert strange.references == plain.references
    shown = "".join(strange.text)
    letters = "".join(letter for letter in odd if letter.isascii() and letter.isprintable())
    assert letters.replace(" ", "") in shown.replace(" ", "") or "\n" in odd or "\udcff" in odd
    assert "\x1b" not in shown


@pytest.mark.parametrize("odd", ODD)
def test_markdown_is_the_text_whatever_it_is(odd: str, tmp_path: Path) -> None:
    """Against a parser of CommonMark with tables: the same structure as of a plain word, and the same letters."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table").enable("strikethrough")

    def structure(text: str) -> list[str]:
        tokens = parser.parse(as_markdown(whole(tmp_path, text)))
        inner = [child for token in tokens for child in token.children or []]
        kinds = [one.type for one in [*tokens, *inner] if one.type not in ("text", "text_special")]
        return kinds

    assert structure(odd) == structure("text")
    html = parser.render("\n".join(blocks_as_markdown([Paragraph((odd, " and ", Code(odd)))])))
    shown = re.sub(r"\s+", "", "".join(read(html).text))
    wanted = re.sub(r"\s+", "", odd.replace("\n", "\\n").replace("\t", "\\t").replace("\x1b", "\\x1b"))
    wanted = wanted.encode("utf-8", "backslashreplace").decode()
    assert shown == f"{wanted}and{wanted}"


def test_files_open_without_anything_else(tmp_path: Path) -> None:
    page = write_page(tmp_path / "new", whole(tmp_path))
    html = page.read_text()
    found = read(html)
    pictures = [one for one in found.references if one.startswith("data:image/png;base64,")]
    (picture,) = pictures
    assert base64.b64decode(picture.partition(",")[2]) == (tmp_path / "picture.png").read_bytes()
    assert set(found.references) - set(pictures) == {"film%20%281%29%23%3F.mp4"}, "beside the page, by a relative name"
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html), "nothing from elsewhere"
    assert "script" not in found.tags
    assert {"video", "svg", "table", "dl"} <= set(found.tags)
    assert "prefers-color-scheme: dark" in html
    assert {path.name for path in page.parent.iterdir()} == {"report.md", "report.html"}


def test_a_rate_is_drawn_on_an_axis_from_0_to_1() -> None:
    table = figures({"success": (Interval(0.5, 0.25, 1.0), RATE), "return": (Interval(7.0, 6.0, 8.0), "")})
    (*_, head, rule, success, other, _) = ["", *blocks_as_markdown([table])]
    assert "`0 ·····├────●─────────┤ 1`" in success
    assert "●" not in other
    assert len(head) == len(rule) == len(success) == len(other), "readable as it is"
    html = as_html(Page("x", [table]))
    assert html.count("<svg") == 1
    assert 'cx="50.00"' in html
    assert 'x="25.00" y="4" width="75.00"' in html


def test_a_rate_without_an_interval_is_a_dot() -> None:
    table = figures({"success": (Interval.missing(1.0, "a single one"), RATE)})
    assert "`0 ····················● 1`" in "\n".join(blocks_as_markdown([table]))
    assert "<rect" not in as_html(Page("x", [table]))
    assert "– (a single one)" in as_html(Page("x", [table]))


def test_outcomes_seed_by_seed() -> None:
    seeds = list(range(100, 112))
    block = Outcomes(seeds, {"a": [True] * 10 + [False, None], "b": [False] * 12})
    text = "\n".join(blocks_as_markdown([block]))
    assert "✓✓✓✓✓✓✓✓✓✓ ✗–" in text
    assert "seeds 100 to 111" in text
    html = as_html(Page("x", [block]))
    assert 'title="seed 110: no success"' in html
    assert 'title="seed 111: not known"' in html
    assert html.count('class="bad"') == 13
