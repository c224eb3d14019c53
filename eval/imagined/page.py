"""The files of a world model's replay: replay.json, report.md, report.html and their pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...policies.storage import write_json
from ...world_models.open_loop import AHEAD, HORIZON, PREDICTORS, SEEN, OpenLoopErrors
from ..outputs import WRITTEN
from ..reports.page import Block, Bullets, Code, Facts, Heading, Note, Page, Paragraph, Picture, Strong, Table, Words
from ..reports.written import write_page
from . import pictures
from .replay import TITLES, ImaginedReplay, ratio

_NAMED = 50  # numbers of episodes on the page


def write_imagined(folder: str | Path, found: ImaginedReplay) -> Path:
    """Write replay.json, the pictures and the page into a folder, made if missing; return the HTML page's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in WRITTEN["replay"].others:  # of an earlier replay, which may have had more of them
        (folder / name).unlink(missing_ok=True)
    write_json(folder / "replay.json", found.to_json())
    blocks: list[Block] = [
        Paragraph((Code(found.world), " on ", Code(found.chosen.source), f": {found.counted}.")),
        *(Note(f"{remark[0].upper()}{remark[1:]}.") for remark in found.remarks),
        *_totals(found),
    ]
    if found.errors is not None:
        blocks += [
            Picture("By steps ahead", pictures.by_step(found.errors, folder / "horizon.png")),
            *_events(found.errors),
            *_numbers(found.errors),
            *_windows(found, folder),
        ]
    if found.pictures:
        told = "The first column is the last frame that was seen; from there on actions alone are known."
        blocks.append(Picture("Imagined below recorded frames", pictures.frames(found, folder / "frames.png"), told))
    blocks += _provenance(found)
    return write_page(folder, Page("Imagined beside recorded moments", blocks))


def _totals(found: ImaginedReplay) -> Iterator[Block]:
    rows: list[list[Words]] = []
    for key, row in found.totals.items():
        title: Words = Strong("all numbers") if not key else (Code(key), ", pixels" if key in found.pictures else "")
        rows.append([title, *(_cell(row.get(name)) for name in PREDICTORS), _share(row)])
    yield Table(["observation", *(TITLES[name] for name in PREDICTORS), "of the better baseline"], rows)
    yield Paragraph(
        f"Root mean square error over {HORIZON} steps ahead, after {SEEN} observations that were seen; from there on "
        "actions alone are known. Numbers count in their own deviations in the data, those that never vary not at all; "
        "pixels as a share of their range. Beside the world model stand two predictors that anybody has for nothing: "
        "that all stays as it was last seen, and a linear model of the next step, fitted to the same recordings and "
        "followed as far; a share below 1 of the better one is what the world model has learned beyond them."
    )


def _numbers(errors: OpenLoopErrors) -> Iterator[Block]:
    rmse = {name: errors.rmse(name) for name in PREDICTORS}
    rows: list[list[Words]] = []
    for at, label in enumerate(errors.labels):
        row = {name: float(one[at]) for name, one in rmse.items()}
        still = errors.spread[at] == 0
        share = "never varies" if still else _share(row)
        rows.append([label, f"{errors.spread[at]:.4g}", *(_cell(row[name]) for name in PREDICTORS), share])
    yield Heading("By number")
    yield Table(["number", "deviation", *(TITLES[name] for name in PREDICTORS), "of the better baseline"], rows)
    yield Paragraph("Root mean square errors in raw units; of angles the shorter way round.")


def _events(errors: OpenLoopErrors) -> Iterator[Block]:
    rows: list[list[Words]] = []
    for label, one in zip(errors.labels, errors.events, strict=True):
        if one.hits + one.misses + one.false:
            counts = (one.hits + one.misses, one.hits + one.false, one.hits)
            rows.append([label, *map(str, counts), _rate(one.precision), _rate(one.recall)])
    yield Heading("Events")
    if not rows:
        yield Paragraph(f"No number moves by half of its range within {AHEAD} steps, neither recorded nor imagined.")
        return
    yield Table(["number", "happened", "imagined", "both", "precision", "recall"], rows)
    yield Paragraph(
        f"Windows in which a number is, {AHEAD} steps after it was last seen, more than half of its range away "
        "from there: a drawer that opened, a lamp that went on."
    )


def _windows(found: ImaginedReplay, folder: Path) -> Iterator[Block]:
    yield Heading("Windows from near")
    yield Paragraph(
        "The numbers that moved most. The world model draws its codes anew here, so that its error may be another than "
        "the one that a window was chosen by."
    )
    for one in found.shown:
        file = pictures.window(found, one, folder / f"{one.place}.png")
        yield Picture(f"Episode {one.episode} from step {one.step}, {one.place}", file)


def _provenance(found: ImaginedReplay) -> Iterator[Block]:
    chosen, numbers, config = found.chosen, found.chosen.numbers, found.model.config.sized
    parameters = sum(one.numel() for one in found.model.parameters())
    facts: dict[str, Words] = {
        "world model": Code(found.world),
        "checkpoint": Code(found.checkpoint),
        "size": f"{parameters:,} parameters; memory {config.deter}, code {config.groups} x {config.classes}",
        "data": (Code(chosen.source), f", {chosen.content['episodes']} episodes, {chosen.content['steps']} steps"),
        "episodes": f"{', '.join(map(str, numbers[:_NAMED]))}{', …' if len(numbers) > _NAMED else ''}",
        "seed of the codes": str(found.seed),
        "versions": ", ".join(f"{name} {number}" for name, number in found.to_json()["versions"].items()),
    }
    yield Heading("What was measured")
    yield Facts(facts)
    yield Bullets([("every number: ", Code("replay.json"))])


def _cell(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.4g}"


def _share(row: dict[str, float]) -> str:
    found = ratio(row)
    return "it makes none" if np.isnan(found) else f"{found:.2f}"


def _rate(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
