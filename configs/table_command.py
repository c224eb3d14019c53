"""The verb `table`: evaluated runs, and the settings that their methods have by their names."""

from __future__ import annotations

from collections.abc import Sequence

from ..eval.reports.table import tabulate
from ..eval.reports.table_report import check_stem, markdown, save_table
from ..settings import Text
from .command_line import paths_in, usage_of
from .published import published
from .words import read_text


def run(words: Sequence[str]) -> str:
    """Make the table of some folders, and return it, with the files that it was written to."""
    folders, rest = paths_in(
        list(words), lambda word: word.startswith("out=") or word in ("overwrite=true", "overwrite=false")
    )
    given = dict(word.split("=", 1) for word in rest if "=" in word)
    if not folders or len(given) < len(rest) or not given.keys() <= {"out", "overwrite"}:
        raise usage_of("table", "FOLDER… [out=STEM] [overwrite=true]", list(words))
    stem = read_text("out", given["out"], Text(path=True)) if "out" in given else None
    if stem:
        check_stem(str(stem), given.get("overwrite") == "true")
    found = tabulate(folders, published)
    paths = save_table(found, str(stem)) if stem else []
    text = paths[0].read_text(encoding="utf-8") if paths else markdown(found)
    return "\n".join([text, *(f"written to {path}" for path in paths)])
