"""What every page in a browser begins with: one file without server or network, and colours for light and dark."""

from __future__ import annotations

from html import escape

from .page import plain

# Light and dark as the reader's system is.
_GROUND = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2330; --soft: #5b6675; --line: #dfe4ea; --wash: #f4f6f9;
  --good: #1a7f4b; --bad: #c0392b; --accent: #2563c9; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181f; --ink: #e4e8ee; --soft: #9aa5b4; --line: #2d3542; --wash: #1c222c;
    --good: #4cc38a; --bad: #ff7b6b; --accent: #7aa7ff; }
}
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
"""


def document(title: str, style: str, body: str, head: str = "") -> str:
    """Return a whole page.

    Args:
        title: plain text.
        style: CSS that comes after the font and the colours: `--paper`, `--ink`, `--soft`, `--line`, `--wash`,
            `--good`, `--bad` and `--accent`.
        body: HTML, escaped already.
        head: further elements of the head.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{head}'
        f"<title>{escaped(title)}</title>\n<style>{_GROUND}{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def escaped(text: str) -> str:
    """Return plain text as HTML shows it, in elements and in attributes."""
    return escape(plain(text), quote=True)
