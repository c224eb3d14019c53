"""Links of the Markdown files, as they are shown in a view of the repository."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")]
FILES += sorted((ROOT / "docs").rglob("*.md"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|````).*?^\1$", re.MULTILINE | re.DOTALL)
MEDIA = 1_500_000


def prose(text: str) -> str:
    """Return what is no code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them; those of what docstrings say are made on the site."""
    found: Counter[str] = Counter()
    names: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.*)$", FENCE.sub("", text), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


def broken(page: Path) -> list[str]:
    text, told = page.read_text(encoding="utf-8"), []
    for link in LINK.findall(prose(text)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            told.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            told.append(f"{link}: no such heading")
    return told


@pytest.mark.parametrize("page", FILES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_the_checker_sees_what_is_broken(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A & B\n[x](gone.md) [y](#a--b) [z](#c) `[no](link.md)`\n```\n[no](link.md)\n```\n")
    assert broken(page) == ["gone.md: no such file", "#c: no such heading"]


def test_the_readme_is_one_page_and_points_to_the_others() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 240
    assert "docs/index.md" in text


def test_pictures_and_films_stay_small() -> None:
    media = {path.name: path.stat().st_size for path in (ROOT / "docs/media").iterdir()}
    assert sum(media.values()) <= MEDIA
    assert max(media.values()) <= 250_000
    shown = "".join(page.read_text(encoding="utf-8") for page in FILES)
    assert [name for name in media if f"media/{name}" not in shown] == []
