"""The report of a long-horizon evaluation: eval.json, a Markdown page with the table, and its pictures."""

from __future__ import annotations

from pathlib import Path

from ..results.chain_result import LENGTH, ChainResult
from ..results.result import steps_text
from . import plots
from .report import data_lines, illustrations, provenance, range_lines, training_curve


def write_chain_report(
    folder: str | Path, result: ChainResult, policy: str | Path | None = None, video: str = "chains.mp4"
) -> Path:
    """Write `eval.json`, `report.md` and the pictures into a folder.

    Args:
        folder: made if missing; a video of that name already in it is linked.
        result: from `evaluate_chains`.
        policy: folder that the policy was loaded from; in a run, its training curve is drawn.
        video: file name.

    Returns:
        Path of `report.md`.
    """
    folder = Path(folder)
    result.save(folder)
    pictures = {
        "Instructions in a row": plots.chain_curve(result, folder / "chains.png"),
        "Success of each task": plots.task_success(result, folder / "tasks.png"),
    } | training_curve(folder, policy)
    lines = [f"# Chains of instructions in {result.simulator}", ""]
    lines += [f"**{caveat[0].upper()}{caveat[1:]}.**\n" for caveat in result.caveats]
    lines += _table(result)
    lines += [f"Note: {remark}.\n" for remark in result.remarks]
    lines += range_lines(result.out_of_range)
    lines += illustrations(pictures, folder / video, "chains")
    lines += provenance(policy, result.checkpoint, result.env_id, result.versions)
    lines += data_lines(policy)
    lines += [] if result.steps is None else [f"- steps: {steps_text(result.steps)}"]
    lines += [f"- seed of the noise: {result.seed} + number of the chain", "- every chain: `eval.json`", ""]
    page = folder / "report.md"
    page.write_text("\n".join(lines), encoding="utf-8")
    return page


def _table(result: ChainResult) -> list[str]:
    told = f"instructions are given as '{result.instruction}'"
    if result.instruction is None:
        told = "the policy **does not see the instruction**, so it cannot know which task is asked"
    lines = [
        f"{len(result.chains)} chains of {LENGTH} instructions, {result.max_steps} steps each; {told}. Shares and mean",
        "have 95 % intervals.",
        "",
        "| in a row | share of chains | low | high |",
        "|---|---|---|---|",
    ]
    lines += [f"| {k} | {x.cells} |" for k, x in result.in_a_row.items()]
    lines += [f"| average length | {result.average_length.cells} |", ""]
    lines += ["| task | successes | attempts | rate | low | high |", "|---|---|---|---|---|---|"]
    for task, rate in result.task_success.items():
        won, total = result.tasks[task]
        lines.append(f"| {task} | {won} | {total} | {rate.cells} |")
    return [*lines, ""]
