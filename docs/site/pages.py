"""What the site does beside mkdocs: files outside of docs/ that pages link to become pages too.

A link such as `../CONTRIBUTING.md` or `../examples/own/process.py` works in a view of the repository. Here the file is
shown as a page below `source/`, so that the site has no link that leaves it and needs no address of the repository.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")
LISTED = ("CONTRIBUTING.md", "CHANGELOG.md")  # in the navigation, whether or not a page links to them
FENCES = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".cff": "yaml", ".cfg": "ini", "": "text", ".lock": "text"}


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show griffe this checkout under the name of the package, however its folder is called, and without the tests."""
    package = Path(tempfile.mkdtemp()) / "laminar"
    package.mkdir()
    for path in ROOT.iterdir():
        if path.suffix == ".py" or (path / "__init__.py").exists():
            (package / path.name).symlink_to(path)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(package.parent)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the repository that are linked, from page to page."""
    wanted = [ROOT / name for name in LISTED]
    wanted += [path for file in files.documentation_pages() for path in _outside(Path(file.abs_src_path))]
    seen: set[Path] = set()
    while wanted:
        path = wanted.pop()
        if path not in seen:
            seen.add(path)
            files.append(_file(path, config))
            wanted += _outside(path) if path.suffix == ".md" else ()
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links that leave docs/ to the pages that stand for what they name."""
    home = _source(page.file)

    def moved(link: re.Match[str]) -> str:
        target = (home.parent / link[1]).resolve()
        if home.is_relative_to(ROOT / "docs") and target.is_relative_to(ROOT / "docs"):
            return link[0]
        here = Path(page.file.src_uri).parent
        return Path(os.path.relpath(_place(target), here)).as_posix() + (link[2] or "")

    return LINK.sub(moved, markdown)


def _outside(page: Path) -> Iterator[Path]:
    """Yield what a page names by links, but for what is in docs/."""
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        path = (page.parent / link[1]).resolve()
        if not path.is_relative_to(ROOT / "docs") and path.is_file():
            yield path


def _place(path: Path) -> str:
    """Return where a file lies on the site, as a path from docs/."""
    if path.is_relative_to(ROOT / "docs"):
        return path.relative_to(ROOT / "docs").as_posix()
    name = path.relative_to(ROOT).as_posix()
    if name == "README.md":
        return "index.md"  # the front page says the same
    return f"source/{name}" if path.suffix == ".md" else f"source/{name}.md"


def _source(file: File) -> Path:
    """Return the file that a page is made of."""
    outside = file.src_uri.removeprefix("source/")
    if outside == file.src_uri:
        return ROOT / "docs" / file.src_uri
    return ROOT / outside if (ROOT / outside).exists() else ROOT / outside.removesuffix(".md")


def _file(path: Path, config: MkDocsConfig) -> File:
    text, listed = path.read_text(encoding="utf-8"), path.name in LISTED
    if path.suffix != ".md":
        name = path.relative_to(ROOT).as_posix()
        text = f"---\nsearch:\n  exclude: true\n---\n# {name}\n\n````{FENCES[path.suffix]}\n{text}````\n"
    file = File.generated(config, _place(path), content=text)
    file.inclusion = InclusionLevel.INCLUDED if listed else InclusionLevel.NOT_IN_NAV
    return file
