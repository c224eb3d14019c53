"""The files of a replay: replay.json, report.md, report.html and their pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...policies.storage import write_json
from ..outputs import WRITTEN
from ..reports.page import Block, Bullets, Code, Facts, Heading, Note, Page, Paragraph, Picture, Strong, Table, Words
from ..reports.written import write_page
from ..results.scores import Interval
from . import pictures
from .figures import BEST, LAST, MEAN, POLICY, TITLES
from .replay import Replay

_ROWS = 16  # steps of a chunk in the table; replay.json has all
_NAMED = 50  # numbers of episodes on the page


def write_replay(folder: str | Path, found: Replay) -> Path:
    """Write replay.json, the pictures and the page into a folder, made if missing; return the HTML page's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in WRITTEN["replay"].others:  # of an earlier replay, which may have had more of them
        (folder / name).unlink(missing_ok=True)
    write_json(folder / "replay.json", found.to_json())
    blocks = [
        Paragraph((Code(found.policy), " on ", Code(found.chosen.source), f": {found.counted}.")),
        *(Note(f"{remark[0].upper()}{remark[1:]}.") for remark in found.remarks),
        *_totals(found),
        *_dimensions(found, folder),
        *_horizon(found, folder),
        *_curves(found, folder),
        *_provenance(found),
    ]
    return write_page(folder, Page("Predicted beside recorded actions", blocks))


def _totals(found: Replay) -> Iterator[Block]:
    rows: list[list[Words]] = []
    for name, one in found.predictors.items():
        title: Words = Strong(TITLES[name]) if name == POLICY else TITLES[name]
        errors = _cell(one.total["mean_absolute"]), _cell(one.total["root_mean_square"])
        rows.append([title, *errors, found.verdicts.get(name, "–")])
    yield Table(["predictor", "mean absolute error", "root mean square error", "the policy is"], rows)
    yield Paragraph(
        "Errors of single actions as shares of the action's range in the training data, over all dimensions and steps "
        "of the chunk, with 95 % bootstrap intervals over episodes. What knows nothing of the observation is measured "
        "on the same windows: a policy that is no closer than it has learned little that these data can show. Where an "
        "episode begins there is no last action, and the mean one stands for it."
    )
    if BEST in found.predictors:
        yield Paragraph(
            f"Of {found.samples} samples the best is the one closest to the recorded chunk, which nobody knows in "
            "advance: much closer than a single sample, it says that the policy knows several ways."
        )


def _dimensions(found: Replay, folder: Path) -> Iterator[Block]:
    yield Picture("By action dimension", pictures.dimensions(found, folder / "dimensions.png"))
    unit = f" ({found.spec.action.unit})" if found.spec.action.unit else ""
    spread = ["deviation of the samples"] if found.spread is not None else []
    head = ("mean absolute error", "share of the range", "root mean square error", "share of the range")
    own, last, mean = (found.predictors[name].dimensions for name in (POLICY, LAST, MEAN))
    rows: list[list[Words]] = []
    for index, (label, low, high) in enumerate(zip(found.spec.action_labels, *found.limits, strict=True)):
        cells: list[Words] = [label, f"{low:.4g} to {high:.4g}"]
        for name in ("mean_absolute", "root_mean_square"):
            cells += [_cell(own[name][index]), f"{own[name][index].mean / found.width[index]:.3g}"]
        cells += [f"{other['mean_absolute'][index].mean:.4g}" for other in (last, mean)]
        rows.append(cells + ([] if found.spread is None else [f"{found.spread[index]:.4g}"]))
    yield Table(["action", f"range{unit}", *head, TITLES[LAST], TITLES[MEAN], *spread], rows)
    yield Paragraph("Raw units; of the two last predictors the mean absolute error.")


def _horizon(found: Replay, folder: Path) -> Iterator[Block]:
    own, last, mean = (found.predictors[name].horizon for name in (POLICY, LAST, MEAN))
    count = len(own["mean_absolute"])
    if count == 1:
        return
    yield Picture("By horizon", pictures.horizon(found, folder / "horizon.png"))
    rows: list[list[Words]] = []
    for index in sorted({round(row * (count - 1) / (min(count, _ROWS) - 1)) for row in range(min(count, _ROWS))}):
        others = [f"{other['mean_absolute'][index].mean:.4g}" for other in (last, mean)]
        rows.append(
            [str(index + 1), _cell(own["mean_absolute"][index]), _cell(own["root_mean_square"][index]), *others]
        )
    head = ["step of the chunk", "mean absolute error", "root mean square error", TITLES[LAST], TITLES[MEAN]]
    yield Table(head, rows)
    yield Paragraph(("Shares of the action's range; ", Code("replay.json"), " has every step and dimension."))


def _curves(found: Replay, folder: Path) -> Iterator[Block]:
    execute = found.spec.execute
    if found.spec.ensemble is not None:
        how = "chunks are planned at every step and averaged"
    else:
        how = "a chunk is planned at every step" if execute == 1 else f"{execute} actions of each chunk are executed"
    yield Heading("Along recorded episodes")
    yield Paragraph(
        f"What would have been executed ({how}), on the observations that were recorded. What the policy does changes "
        "nothing of what it sees here, so that its mistakes do not add up as they do on a robot."
    )
    for one in found.curves:
        file = pictures.curve(found, one, folder / f"{one.place}.png")
        yield Picture(f"Episode {one.number}, {one.place}", file)


def _provenance(found: Replay) -> Iterator[Block]:
    chosen, numbers = found.chosen, found.chosen.numbers
    facts: dict[str, Words] = {
        "policy": Code(found.policy),
        "checkpoint": Code(str(found.checkpoint)),
        "data": (Code(chosen.source), f", {chosen.content['episodes']} episodes, {chosen.content['steps']} steps"),
        "episodes": f"{', '.join(map(str, numbers[:_NAMED]))}{', …' if len(numbers) > _NAMED else ''}",
        "chunk": f"{found.spec.chunk}, {found.spec.execute} executed, history of {found.spec.history}",
        **({} if found.steps is None else {"steps": str(found.steps)}),
        "seed of the noise": str(found.seed),
        "versions": ", ".join(f"{name} {number}" for name, number in found.to_json()["versions"].items()),
    }
    yield Heading("What was measured")
    yield Facts(facts)
    yield Bullets([("every number: ", Code("replay.json"))])


def _cell(figure: Interval) -> str:
    """Return a figure with its interval; that there is none for a single episode is said once, in a remark."""
    return f"{figure.mean:.4g}" if figure.none else str(figure)
