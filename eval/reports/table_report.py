"""A table of runs as a page, in Markdown and in HTML, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ...overwriting import check_files
from ...policies.storage import write_json, write_text
from ..results.chain_result import ChainResult
from ..rollouts.offline import NUMBERS
from .as_html import as_html
from .as_markdown import blocks_as_markdown
from .evaluations import Evaluation
from .page import Page
from .plots import performance_profiles
from .seeds_page import LOST
from .table import Table
from .table_findings import Findings
from .table_page import FIRST_LINE, LIST, blocks
from .table_record import RECORD, record

_KINDS = ("bootstrap over episodes", "t over training seeds")  # of an entry of one training seed, or of several


def markdown(table: Table, profiles: Path | None = None) -> str:
    """Return one table for each of the three numbers, what they are made of, and all other evaluations."""
    return _markdown(Findings(table), profiles)


def _markdown(found: Findings, profiles: Path | None) -> str:
    return "\n".join(blocks_as_markdown(blocks(found, profiles)))


def to_csv(table: Table) -> str:
    """Return a header, a line for each number, task and method, and for each figure of the other evaluations."""
    return _csv(Findings(table))


def _csv(found: Findings) -> str:
    table, lines = found.table, list[dict[str, Any]]()
    for number in NUMBERS:
        for (row, method), runs in sorted(table.cells.items()):
            entry = table.entry(number, row, method)
            if entry is None:
                continue
            result, interval = runs[0].result.numbers[number], entry.interval
            lines.append(
                {"number": number, "task": row.task, "method": method, "unit": entry.unit, "mean": interval.mean}
                | {name: None if interval.none else getattr(interval, name) for name in ("low", "high")}
                | {"interval": f"none, {interval.none}" if interval.none else _KINDS[entry.over_seeds]}
                | {"training_seeds": " ".join(str(run.seed) for run in runs)}
                | {"episodes_per_seed": len(result.episodes), "env_id": result.env_id}
                | {"updates": " ".join(str(run.result.updates[number]) for run in runs), **result.acting.to_json()}
                | {"reward": runs[0].result.settings["method"].get("reward"), "settings_changed": runs[0].changed}
                | {"trained_updates": row.budget.updates, "env_steps": row.budget.env_steps}
                | {"seed_scores": " ".join(f"{run.figures[number][1].mean:.6g}" for run in runs)}
                | {"failed_seeds": " ".join(map(str, found.failed(number, row, method)))}
                | {"lost_seeds": " ".join(found.lost(row, method))}
            )
    lines += [line for one in table.evaluations for line in _figures(one)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _figures(one: Evaluation) -> list[dict[str, Any]]:
    """Return a line for each unit that an evaluation has figures in."""
    result = one.result
    acting = {} if isinstance(result, ChainResult) else result.acting.to_json()
    count = len(result.chains if isinstance(result, ChainResult) else result.episodes)
    return [
        {"number": "evaluation", "task": one.task, "method": one.method, "unit": unit, "mean": interval.mean}
        | {name: None if interval.none else getattr(interval, name) for name in ("low", "high")}
        | {"interval": f"none, {interval.none}" if interval.none else "over episodes"}
        | {"training_seeds": one.seed, "episodes_per_seed": count, "env_id": result.env_id, **acting}
        | {"evaluation": str(one.path), "remark": one.remark}
        for unit, interval in one.figures.items()
    ]


def check_stem(stem: str | Path, overwrite: bool) -> None:
    """Refuse to write over `stem.md`, `stem.csv` and so on where they are no table from here.

    Raises:
        LaminarError: names the file.
    """
    begins = {
        ".md": (FIRST_LINE, f"## {LIST}", f"## {LOST}"),
        ".csv": ("number,task,method,unit,",),
        ".json": (f'{{\n  "{RECORD}"',),
    }
    own = {kind: _begins(Path(f"{stem}{kind}"), texts) for kind, texts in begins.items()}
    own |= {".html": own[".json"], _PROFILES: own[".json"]}  # the record tells that the page beside it is ours
    for kind, may in own.items():
        check_files([Path(f"{stem}{kind}")], may or overwrite, "laminar table did not write it")


_PROFILES = "_profiles.png"


def _begins(path: Path, texts: tuple[str, ...]) -> bool:
    return path.is_file() and path.read_bytes().startswith(tuple(one.encode() for one in texts))


def save_table(table: Table, stem: str | Path) -> list[Path]:
    """Write `stem.md`, `stem.csv`, `stem.html` and `stem.json`, and the picture of profiles if there is one.

    Returns:
        The paths in this order.
    """
    found = Findings(table)
    text, figures, html, stored = (Path(f"{stem}{kind}") for kind in (".md", ".csv", ".html", ".json"))
    text.parent.mkdir(parents=True, exist_ok=True)
    drawn = performance_profiles(found.aggregates, Path(f"{stem}{_PROFILES}"))
    write_text(text, _markdown(found, drawn))
    write_text(figures, _csv(found))
    write_text(html, as_html(Page("Evaluated runs", blocks(found, drawn))))
    write_json(stored, record(found))
    return [text, figures, html, stored, *([drawn] if drawn else [])]
