"""The report of a long-horizon evaluation: eval.json, and a page with the tables as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..results.chain_result import LENGTH, ChainResult
from ..results.smoothness import JERK, unit
from .chain_blocks import confusion_blocks, film_blocks, position_blocks
from .chain_wording import wording_blocks
from .page import RATE, Block, Bullets, Code, Gauge, Note, Page, Paragraph, Strong, Table, Words, figures
from .provenance import SMOOTHNESS, capital, measured, range_blocks
from .training import Training
from .written import write_page


def write_chain_report(
    folder: str | Path, result: ChainResult, policy: str | Path | None = None, films: Mapping[int, Path] | None = None
) -> Path:
    """Write `eval.json`, `report.md`, `report.html` and the training curve into a folder.

    Args:
        folder: made if missing.
        result: from `evaluate_chains`.
        policy: folder that the policy was loaded from; in a run, its training curve is drawn.
        films: number of a chain -> film in the folder, see `film_chains`.

    Returns:
        Path of `report.html`.
    """
    folder = Path(folder)
    result.save(folder)
    training = Training(policy)
    more: dict[str, Words] = {"seed of the noise": f"{result.seed} + number of the chain"}
    blocks: list[Block] = [
        *(Paragraph(Strong(capital(caveat))) for caveat in result.caveats),
        *_tables(result),
        *wording_blocks(result.chains),
        *(Note(f"{remark}.") for remark in result.remarks),
        *film_blocks(result, films or {}),
        *training.curve(folder),
        *range_blocks(result.out_of_range),
        *measured(result, training, policy, result.env_id, more),
        Bullets([*training.about_data, ("every chain: ", Code("eval.json"))]),
    ]
    return write_page(folder, Page(f"Chains of instructions in {result.simulator}", blocks))


def _tables(result: ChainResult) -> list[Block]:
    seen: Words = (f"; instructions are given as '{result.instruction}'",)
    if result.told == "goal":
        seen = ("; tasks are told by ", Strong("goals"), ", and no instructions are given")
    elif result.instruction is None:
        seen = ("; the policy ", Strong("does not see the instruction"), ", so it cannot know which task is asked")
    count = len(result.chains)
    what = "Figures have 95 % intervals." if count > 1 else "A single chain has no interval."
    text = f"{count} chain{'s' * (count > 1)} of {LENGTH} instructions, {result.max_steps} steps each"
    named = {f"at least {k} in a row": (share, RATE) for k, share in result.in_a_row.items()}
    named |= {"average length": (result.average_length, "")}
    named |= {JERK: (result.jerk, unit(result.rate_hz))} if result.jerk else {}
    rows: list[list[Words]] = []
    steps = result.task_steps
    for task, rate in result.task_success.items():
        won, total = result.tasks[task]
        mean = f"{steps[task].mean:.0f}" if task in steps else "–"
        rows.append([task, str(won), str(total), *rate.cells, Gauge(rate), mean])
    return [
        Paragraph((text, *seen, f". {what}")),
        figures(named, "of all chains"),
        *([Paragraph(SMOOTHNESS)] if result.jerk else []),
        Table(["task", "successes", "attempts", "rate", "low", "high", "0 to 1", "steps"], rows),
        Paragraph("Steps are control steps until a task was done, the mean of the attempts that succeeded."),
        *position_blocks(result),
        *confusion_blocks(result),
    ]
