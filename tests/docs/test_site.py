"""The site is whole: no warning when it is built, links and anchors lead somewhere, nothing comes from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import laminar

pytestmark = pytest.mark.timeout(600)  # the first test builds
FETCHED = {"script": "src", "link": "href", "img": "src", "video": "src", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """What a page names: its anchors, its links, those within the article alone, and what a browser fetches for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.doors: list[str] = []
        self.fetched: list[str] = []
        self._article = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._article |= tag == "article"
        self.anchors |= {value for value in (given.get("id"), given.get("name")) if value}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
            if self._article and given.get("class") != "headerlink":
                self.doors.append(str(given["href"]))
        if given.get(FETCHED.get(tag, "")) and given.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(str(given[FETCHED[tag]]))

    def handle_endtag(self, tag: str) -> None:
        self._article &= tag != "article"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    # 404.html is shown at any address, so that its links begin at the root of a server
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def inside(links: list[str], page: Path) -> Iterator[tuple[Path, str]]:
    """Yield file and anchor of those links that stay on the site."""
    for link in links:
        parts = urlsplit(link)
        if not parts.scheme and not parts.netloc:
            path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            yield path / "index.html" if path.is_dir() else path, unquote(parts.fragment)


def test_every_link_and_anchor_is_there(pages: dict[Path, Page], site: Path) -> None:
    broken = []
    for path, page in pages.items():
        for target, anchor in inside(page.links + page.fetched, path):
            found = pages.get(target)
            if not target.is_file() or (anchor and found and anchor not in found.anchors):
                broken.append(f"{path.relative_to(site)} -> {target.relative_to(site)}#{anchor}")
    assert len(pages) > 40
    assert sum(len(page.links) for page in pages.values()) > 2000
    assert broken == []


def test_nothing_comes_from_another_server(pages: dict[Path, Page], site: Path) -> None:
    elsewhere = {link for page in pages.values() for link in page.fetched if urlsplit(link).netloc}
    assert elsewhere == set()
    assert not [path for path in site.rglob("*.css") if re.search(r"url\(['\"]?(https?:)?//", path.read_text("utf-8"))]


def test_the_checker_sees_what_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<article><h1 id='top'>A</h1><a href='b.html#x'>b</a><img src='https://cdn.example/x.png'></article>"
    )
    page = Page(tmp_path / "a.html")
    assert list(inside(page.doors, tmp_path / "a.html")) == [(tmp_path / "b.html", "x")]
    assert page.fetched == ["https://cdn.example/x.png"]
    assert page.anchors == {"top"}


def doors(pages: dict[Path, Page], path: Path) -> set[tuple[Path, str]]:
    return set(inside(pages[path].doors, path)) if path in pages else set()


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("formats.html#lerobot-data", "laminar train data.path=~/data/cubes"),
        ("deploy.html", "laminar deploy policy.path="),
        ("source/CONTRIBUTING.html#recipe-a-process", "policies/processes/NAME.py"),
        ("source/examples/own/process.py.html", "class"),
        ("settings.html#methoddql-fql-ifql-iql-ofql-qc-rebrac-td3bc", "weight of the critic's term; 0 clones"),
        ("offline_q_learning.html#ofqls-default", "a distance in units of the normalized action"),
    ],
)
def test_a_newcomer_finds_it_in_two_clicks(wanted: str, text: str, pages: dict[Path, Page], site: Path) -> None:
    """By the words of the pages: what stands at the side and above does not count."""
    path, _, anchor = wanted.partition("#")
    first = doors(pages, site / "index.html")
    reached = first | {door for target, _ in first for door in doors(pages, target)}
    assert (site / path, anchor) in reached
    shown = re.sub(r"<[^>]*>", "", (site / path).read_text(encoding="utf-8")).replace("&#39;", "'")
    assert text in shown


def test_the_search_knows_settings_by_the_parts_of_their_names(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    separator = re.compile(index["config"]["separator"])

    def places(word: str) -> set[str]:
        return {
            entry["location"]
            for entry in index["docs"]
            if word in separator.split(re.sub(r"<[^>]*>", " ", entry["text"]).lower())
        }

    assert "settings.html#methoddql-fql-ifql-iql-ofql-qc-rebrac-td3bc" in places("eta")
    assert {"formats.html#lerobot-data", "coming_from.html#lerobot"} <= places("lerobot")


def test_all_that_is_public_has_an_entry(pages: dict[Path, Page], site: Path) -> None:
    names = set(re.findall(r"laminar\.(\w+)", re.sub(r"<[^>]*>", "", (site / "api/index.html").read_text("utf-8"))))
    assert set(dir(laminar)) - {"__version__"} <= names
