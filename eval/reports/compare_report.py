"""The report of a comparison: compare.json, and a page as Markdown and as HTML."""

from __future__ import annotations

from pathlib import Path

from ..results.pair import RETURN, SCORE, SUCCESS, Pair
from ..results.result import Result, steps_text
from ..results.scores import Interval
from ..results.significance import LEVEL
from ..results.smoothness import JERK, unit
from ..rollouts.compare import Comparison
from . import plots
from .page import Block, Bullets, Code, Gauge, Heading, Note, Outcomes, Page, Paragraph, Picture, Strong, Table, Words
from .provenance import SMOOTHNESS, numbers_text
from .training import Training
from .written import write_page


def write_compare_report(folder: str | Path, found: Comparison) -> Path:
    """Write `compare.json`, `compare.md`, `compare.html` and the picture of the returns into a folder.

    Returns:
        Path of `compare.html`.
    """
    folder = Path(folder)
    found.save(folder)
    results, seeds = found.results, [episode.seed for episode in found.results[0].episodes]
    told = {name: [e.success for e in one.episodes] for name, one in zip(found.names, results, strict=True)}
    known = any(one is not None for row in told.values() for one in row)
    count = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed, so without intervals"
    blocks: list[Block] = [
        Paragraph(f"{len(results)} policies on the same {count}: same starts, same noise. Means with 95 % intervals."),
        _policies(found),
        *(Note(f"{remark}.") for remark in found.remarks),
        Heading("Who is better"),
        Bullets(found.findings),
        *_differences(found),
        *([Heading("Seed by seed"), Outcomes(seeds, told)] if known else []),
        *_returns(found, folder),
        Heading("What was measured"),
        Bullets([_provenance(name, one) for name, one in zip(found.names, results, strict=True)]),
        Bullets(
            [
                f"seeds: {numbers_text(seeds)}",
                ("versions: ", ", ".join(f"{name} {number}" for name, number in results[0].versions.items())),
                ("everything, every episode too: ", Code("compare.json")),
            ]
        ),
    ]
    return write_page(folder, Page(f"Comparison in {results[0].env_id}", blocks), "compare")


def _policies(found: Comparison) -> Table:
    """Return the figures of each policy."""
    columns: dict[str, list[Interval | None]] = {
        SUCCESS: [result.success_rate for result in found.results],
        SCORE: [result.normalized_score for result in found.results],
        RETURN: [None if result.return_is_success else result.mean_return for result in found.results],
        f"{JERK} ({unit(found.results[0].rate_hz)})": [result.jerk for result in found.results],
    }
    shown = {name: figures for name, figures in columns.items() if any(figures)}
    rows: list[list[Words]] = []
    for index, name in enumerate(found.names):
        rate = found.results[index].success_rate
        gauge: list[Words] = [Gauge(rate) if rate else ""] if SUCCESS in shown else []
        rows.append(
            [_who(name, found.results[index]), *(str(figures[index] or "–") for figures in shown.values()), *gauge]
        )
    return Table(["policy", *shown, *(["success, 0 to 1"] if SUCCESS in shown else [])], rows)


def _who(name: str, result: Result) -> Words:
    """Return a policy's name, with its place and its steps where the name is a letter alone."""
    if result.origin is None or Path(name).name == Path(result.origin.path).name:
        return name
    steps = "" if result.steps is None else f", steps {steps_text(result.steps)}"
    return (f"{name}: ", Code(result.origin.path), steps)


def _differences(found: Comparison) -> list[Block]:
    """Return one table a figure, one row a pair."""
    blocks: list[Block] = []
    several = len(found.pairs) > 1
    head = ["first minus second", "difference", "low", "high", "p", *(["p, corrected"] if several else []), "shown"]
    same = all(result.return_is_success for result in found.results)
    for name in (SUCCESS, SCORE, RETURN, JERK):
        if not any(name in pair.differences for pair in found.pairs) or (name == RETURN and same):
            continue
        of = f"{name} ({unit(found.results[0].rate_hz)})" if name == JERK else name
        rows = [_row(pair, name, several) for pair in found.pairs if name in pair.differences]
        blocks += [Paragraph(Strong(f"{of[0].upper()}{of[1:]}")), Table(head, rows)]
    text = (
        "Intervals and p are of each difference by itself. p is the share of random flips of the signs of the paired "
        "differences whose mean is as far from 0; of success rates 1 minus the confidence up to which the interval "
        f"excludes 0. A difference is shown where its interval excludes 0 and p is below {LEVEL}"
    )
    text += f" after Holm's correction for {len(found.pairs)} pairs. " if several else ". "
    return [Heading("Differences"), Paragraph(f"{text}{SMOOTHNESS}"), *blocks]


def _row(pair: Pair, name: str, several: bool) -> list[Words]:
    found = pair.differences[name]
    p = [_p(found.p), *([_p(found.corrected)] if several else [])]
    higher = pair.names[0] if found.interval.mean > 0 else pair.names[1]
    return [" minus ".join(pair.names), *found.interval.cells, *p, f"{higher} is higher" if found.shown else "no"]


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _returns(found: Comparison, folder: Path) -> list[Block]:
    """Draw the returns of all policies, where they say more than success does."""
    if all(result.return_is_success for result in found.results):
        return []
    returns = {name: one.returns for name, one in zip(found.names, found.results, strict=True)}
    file = plots.paired_returns(returns, folder / "returns.png")
    return [
        Picture("Returns", file, "One point an episode; a line joins the episodes of one seed; bars are the means.")
    ]


def _provenance(name: str, result: Result) -> Words:
    """Return where a policy lies, and what it is, in one line."""
    pieces: list[Words] = [Strong(name)]
    if result.origin is not None:
        pieces += [": ", Code(result.origin.path), f", {result.origin}"]
        line = Training(result.origin.path).line
        pieces += [", ", line] if line else []
    pieces += [", weights ", Code(result.checkpoint)] if result.checkpoint else []
    pieces += [] if result.steps is None else [f", steps {steps_text(result.steps)}"]
    return tuple(inner for piece in pieces for inner in (piece if isinstance(piece, tuple) else (piece,)))
