"""docs/figures.md lists figures that stand on the pages it names, and every page that measures is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "figures.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
ROW = re.compile(r"^\| (?!what |---)(.*) \| (.*) \|$", re.MULTILINE)
MEASURED = re.compile(r"\d \[[-+−]?\d+(\.\d+)?, [-+−]?\d+(\.\d+)?\]")  # a value with its interval
NOT_THEIR_OWN = {"figures.md", "differences.md", "index.md"}  # they quote, or explain


def page_of(section: str) -> Path:
    (name,) = re.findall(r"^On \[[^\]]*\]\((\w+\.md)\)", section, flags=re.MULTILINE)
    return DOCS / name


def plain(text: str) -> str:
    """Return a page as one line of words, without bold letters and the borders of tables."""
    return re.sub(r"\s+", " ", text.replace("**", "").replace("|", " "))


@pytest.mark.parametrize("title", SECTIONS)
def test_every_figure_stands_on_its_page(title: str) -> None:
    page = plain(page_of(SECTIONS[title]).read_text(encoding="utf-8"))
    rows = ROW.findall(SECTIONS[title])
    assert rows
    assert [f"{what}: {figure}" for what, figure in rows if plain(figure) not in page] == []


@pytest.mark.parametrize("title", SECTIONS)
def test_what_made_them_is_told(title: str) -> None:
    made = re.findall(r"^Made by: (.*)$", SECTIONS[title], flags=re.MULTILINE)
    assert len(made) == 1
    for script in re.findall(r"(?:python|pytest) ((?:examples|benchmarks|tests)/[\w/]+\.py)", made[0]):
        assert (DOCS.parent / script).is_file()


def test_every_page_that_measures_is_listed() -> None:
    listed = {page_of(section).name for section in SECTIONS.values()}
    measuring = {page.name for page in DOCS.glob("*.md") if MEASURED.search(page.read_text(encoding="utf-8"))}
    assert measuring - listed - NOT_THEIR_OWN == set()
    assert len(ROW.findall(TEXT)) > 300
