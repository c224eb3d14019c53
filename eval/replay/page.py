"""The files of a replay: replay.json, report.md and its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...policies.storage import write_json, write_text
from ..outputs import WRITTEN
from ..results.scores import Interval
from . import pictures
from .figures import BEST, LAST, MEAN, POLICY, TITLES
from .replay import Replay

_ROWS = 16  # steps of a chunk in the table; replay.json has all


def write_replay(folder: str | Path, found: Replay) -> Path:
    """Write replay.json, the pictures and report.md into a folder, made if missing; return the page's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in WRITTEN["replay"].others:  # of an earlier replay, which may have had more of them
        (folder / name).unlink(missing_ok=True)
    write_json(folder / "replay.json", found.to_json())
    pictures.dimensions(found, folder / "dimensions.png")
    if len(found.predictors[POLICY].horizon["mean_absolute"]) > 1:
        pictures.horizon(found, folder / "horizon.png")
    for one in found.curves:
        pictures.curve(found, one, folder / f"{one.place}.png")
    page = folder / "report.md"
    write_text(page, "\n".join(_page(folder, found)) + "\n")
    return page


def _page(folder: Path, found: Replay) -> Iterator[str]:
    yield from ("# Predicted beside recorded actions", "")
    yield from (f"`{found.policy}` on `{found.chosen.source}`: {found.counted}.", "")
    for remark in found.remarks:
        yield from (f"{remark[0].upper()}{remark[1:]}.", "")
    yield from _totals(found)
    yield from _dimensions(found)
    if (folder / "horizon.png").is_file():
        yield from _horizon(found)
    yield from _curves(found)
    yield from _provenance(found)


def _totals(found: Replay) -> Iterator[str]:
    yield from _head("predictor", "mean absolute error", "root mean square error", "the policy is")
    for name, one in found.predictors.items():
        cells = (one.total["mean_absolute"], one.total["root_mean_square"], found.verdicts.get(name, "–"))
        yield _row(f"**{TITLES[name]}**" if name == POLICY else TITLES[name], *cells)
    yield from (
        "",
        "Errors of single actions as shares of the action's range in the training data, over all dimensions and steps "
        "of the chunk, with 95 % bootstrap intervals over episodes. What knows nothing of the observation is measured "
        "on the same windows: a policy that is no closer than it has learned little that these data can show. Where an "
        "episode begins there is no last action, and the mean one stands for it.",
    )
    if BEST in found.predictors:
        yield (
            f"Of {found.samples} samples the best is the one closest to the recorded chunk, which nobody knows in "
            "advance: much closer than a single sample, it says that the policy knows several ways."
        )
    yield ""


def _dimensions(found: Replay) -> Iterator[str]:
    yield from ("## By action dimension", "", "![Errors by action dimension](dimensions.png)", "")
    unit = f" ({found.spec.action.unit})" if found.spec.action.unit else ""
    spread = ["deviation of the samples"] if found.spread is not None else []
    head = ("mean absolute error", "share of the range", "root mean square error", "share of the range")
    yield from _head("action", f"range{unit}", *head, TITLES[LAST], TITLES[MEAN], *spread)
    own, last, mean = (found.predictors[name].dimensions for name in (POLICY, LAST, MEAN))
    low, high = found.limits
    for index, label in enumerate(found.spec.action_labels):
        cells: list[object] = [f"{low[index]:.4g} to {high[index]:.4g}"]
        for name in ("mean_absolute", "root_mean_square"):
            cells += [own[name][index], f"{own[name][index].mean / found.width[index]:.3g}"]
        cells += [f"{other['mean_absolute'][index].mean:.4g}" for other in (last, mean)]
        cells += [] if found.spread is None else [f"{found.spread[index]:.4g}"]
        yield _row(label, *cells)
    yield from ("", "Raw units; of the two last predictors the mean absolute error.", "")


def _horizon(found: Replay) -> Iterator[str]:
    yield from ("## By horizon", "", "![Errors by horizon](horizon.png)", "")
    yield from _head("step of the chunk", "mean absolute error", "root mean square error", TITLES[LAST], TITLES[MEAN])
    own, last, mean = (found.predictors[name].horizon for name in (POLICY, LAST, MEAN))
    count = len(own["mean_absolute"])
    for index in sorted({round(row * (count - 1) / (min(count, _ROWS) - 1)) for row in range(min(count, _ROWS))}):
        others = [f"{other['mean_absolute'][index].mean:.4g}" for other in (last, mean)]
        yield _row(str(index + 1), own["mean_absolute"][index], own["root_mean_square"][index], *others)
    yield from ("", "Shares of the action's range; `replay.json` has every step and dimension.", "")


def _curves(found: Replay) -> Iterator[str]:
    execute = found.spec.execute
    if found.spec.ensemble is not None:
        how = "chunks are planned at every step and averaged"
    else:
        how = "a chunk is planned at every step" if execute == 1 else f"{execute} actions of each chunk are executed"
    yield from ("## Along recorded episodes", "")
    yield (
        f"What would have been executed ({how}), on the observations that were recorded. What the policy does changes "
        "nothing of what it sees here, so that its mistakes do not add up as they do on a robot."
    )
    yield ""
    for one in found.curves:
        yield from (f"![Episode {one.number}, {one.place}]({one.place}.png)", "")


def _provenance(found: Replay) -> Iterator[str]:
    chosen = found.chosen
    yield from ("## What was measured", "", f"- policy: `{found.policy}`", f"- checkpoint: `{found.checkpoint}`")
    yield f"- data: `{chosen.source}`, {chosen.content['episodes']} episodes, {chosen.content['steps']} steps"
    yield f"- episodes: {', '.join(map(str, chosen.numbers[:50]))}{', …' if len(chosen.numbers) > 50 else ''}"
    yield f"- chunk of {found.spec.chunk}, {found.spec.execute} executed, history of {found.spec.history}"
    yield from [] if found.steps is None else [f"- steps: {found.steps}"]
    yield f"- seed of the noise: {found.seed}"
    yield f"- versions: {', '.join(f'{name} {number}' for name, number in found.to_json()['versions'].items())}"
    yield "- every number: `replay.json`"


def _head(*cells: str) -> Sequence[str]:
    return [_row(*cells), "|" + "---|" * len(cells)]


def _row(*cells: object) -> str:
    return f"| {' | '.join(_text(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _text(cell: object) -> str:
    if isinstance(cell, Interval):
        return f"{cell.mean:.4g}" if cell.none else f"{cell.mean:.4g} [{cell.low:.4g}, {cell.high:.4g}]"
    return str(cell)
