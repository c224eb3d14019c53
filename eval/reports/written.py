"""Pages as files: Markdown and HTML of one name, side by side."""

from __future__ import annotations

from pathlib import Path

from ...policies.storage import write_text
from .as_html import as_html
from .as_markdown import as_markdown
from .page import Page


def write_page(folder: str | Path, page: Page, stem: str = "report") -> Path:
    """Write `stem.md` and `stem.html` into a folder, each in one step.

    Args:
        folder: has the pictures and films that the page shows; made if missing.
        page: what is on it.
        stem: name of both files.

    Returns:
        Path of the HTML file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{stem}.md", as_markdown(page))
    html = folder / f"{stem}.html"
    write_text(html, as_html(page))
    return html
