"""The page of `laminar view`: one HTML file that opens without server or network."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...data.load import for_looking, load_episodes
from ...errors import LaminarError
from ...overwriting import check_files
from ...policies.storage import write_text
from ...progress import Progress, silent
from ..config import ViewConfig
from ..reports.shell import document, escaped
from .content import content

_MARK = '<meta name="generator" content="laminar view">'
_HERE = Path(__file__).parent


def view(config: ViewConfig, progress: Progress = silent) -> Path:
    """Write the page of some recordings, and return its file.

    Raises:
        LaminarError: the recordings cannot be read, or the file is somebody else's.
    """
    paths: Sequence[str] = config.data.path if isinstance(config.data.path, list) else [config.data.path]
    names = [Path(one).name or str(one) for one in paths]
    out = _file(Path(config.out) if config.out else Path(f"{names[0]}.html"), config.overwrite)
    episodes = load_episodes(paths, for_looking(paths, config.data.selection))
    shown = content(episodes, config.episodes, config.megabytes, progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, html(", ".join(names), shown))
    return out


def html(title: str, shown: dict[str, Any]) -> str:
    """Return the page of what `content` found."""
    body, style, script = ((_HERE / f"viewer.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    known = b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")  # no other script may run
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{known}'"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n{_MARK}\n<link rel="icon" href="data:,">\n'
    body = body.replace("TITLE", escaped(title))
    return document(
        title,
        style,
        f'{body}\n<script type="application/json" id="data">{_inside(shown)}</script>\n<script>{script}</script>',
        head,
    )


def _inside(shown: dict[str, Any]) -> str:
    """Return JSON, of ASCII alone, in which nothing ends the element that it stands in."""
    return json.dumps(shown, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _file(out: Path, overwrite: bool) -> Path:
    """Return a file that the page may be written to.

    Raises:
        LaminarError: it is no HTML file, or it exists and is no such page.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise LaminarError(f"out={out}: a page is an HTML file; call it {out.name}.html")
    check_files([out], overwrite or _is_own(out), "laminar view did not write it")
    return out


def _is_own(out: Path) -> bool:
    try:
        with out.open(encoding="utf-8") as file:
            return _MARK in file.read(2000)
    except (OSError, ValueError):
        return False
