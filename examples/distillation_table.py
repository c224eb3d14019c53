"""Reproduce docs/distillation.md: teachers of ten calls, students of one, evaluated on the same seeds.

    python examples/distillation_table.py DATA_FOLDER OUT_FOLDER     # an hour on one core

Every run is the two printed commands; runs that are done are not repeated, so the script can be stopped and started
again. Needs hopper-medium-v4.hdf5 and door-expert-v1.hdf5 in DATA_FOLDER.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
from commands import DOCS, laminar, replace_table, train

from laminar.eval.results.pair import compare_results
from laminar.eval.results.result import load_result
from laminar.policies import load_policy
from laminar.policies.generative import generative


@dataclass(frozen=True)
class Task:
    """One data file; teachers are trained as in docs/behavior_cloning.md."""

    file: str
    env_id: str
    episodes: int


TASKS = {
    "door-expert": Task("door-expert-v1.hdf5", "door-expert-v1", 100),
    "hopper-medium": Task("hopper-medium-v4.hdf5", "hopper-medium-v2", 200),
}
STUDENT = ["runtime.matmul=auto", "seed=0"]
SMALL = ["network.width=64", "method.start=own"]


@dataclass(frozen=True)
class Run:
    """One policy: what it is, the settings that train it, its teacher, and whose score it has to keep."""

    name: str
    title: str
    chosen: tuple[str, ...]
    teacher: str | None = None
    reference: str | None = None

    def settings(self, task: str, data: str, out: str) -> list[str]:
        """All settings that train it on a task."""
        words = [f"experiment={task}", *self.chosen]
        words += [] if self.teacher is None else [f"method.teacher={out}/{task}_{self.teacher}", *STUDENT]
        return [*words, f"data.path={data}/{TASKS[task].file}"]


REFLOW = ["method=reflow", "steps=5000", "evaluation.every=1000"]
CTM = ["method=ctm", "steps=10000", "evaluation.every=2000"]
ONE = ["policy.process.steps=1"]
RUNS = [
    Run("flow_0", "flow, 10 calls", ("policy=flow", "seed=0")),
    Run("diffusion_0", "diffusion, 10 calls", ("policy=diffusion", "seed=0")),
    Run("straight", "reflow of the flow, 10 calls", (*REFLOW,), "flow_0", "flow_0"),
    Run("reflow", "reflow, then distilled, 1 call", (*REFLOW, *ONE), "straight", "flow_0"),
    Run("ctm", "consistency trajectories of the flow, 1 call", (*CTM,), "flow_0", "flow_0"),
    Run("reflow_64", "reflow, then distilled, width 64, 1 call", (*REFLOW, *ONE, *SMALL), "straight", "flow_0"),
    Run("ctm_64", "consistency trajectories of the flow, width 64, 1 call", (*CTM, *SMALL), "flow_0", "flow_0"),
    Run("ctm_diffusion", "consistency trajectories of the diffusion, 1 call", (*CTM,), "diffusion_0", "diffusion_0"),
]


def main(data: str, out: str) -> None:
    """Run what is missing and write the page."""
    for run in RUNS:
        for task in TASKS:
            execute(run, task, data, out)
    for task in TASKS:
        for teacher in ("flow_0", "diffusion_0"):
            hurry(task, teacher, out)
    write_curves(out)
    write_page(out)


def execute(run: Run, task: str, data: str, out: str) -> None:
    """Train and evaluate one policy in processes of their own, unless it is done."""
    folder = Path(out, f"{task}_{run.name}")
    train(run.settings(task, data, out), folder)
    evaluate(folder, task)


def evaluate(folder: Path, task: str) -> None:
    """Evaluate a policy beside its folder, unless it is done."""
    result = folder.with_name(f"{folder.name}_eval")
    if not (result / "eval.json").exists():
        words = [f"policy.path={folder}", f"env.id={TASKS[task].env_id}", f"episodes={TASKS[task].episodes}", "seed=0"]
        laminar(["eval", *words, "video_episodes=0", f"out={result}"])


def hurry(task: str, teacher: str, out: str) -> None:
    """Evaluate a teacher that is asked for one call: what a student has to be better than."""
    folder = Path(out, f"{task}_{teacher}_hurried")
    if not folder.exists():
        policy = load_policy(f"{out}/{task}_{teacher}")
        plain = generative(policy)
        plain.policy_config = replace(plain.policy_config, process=replace(plain.policy_config.process, steps=1))
        policy.save(folder)
    evaluate(folder, task)


def write_page(out: str) -> None:
    """Replace the table between the two marks of docs/distillation.md."""
    lines = [
        "| data | policy | weights | score | difference from its teacher | success | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        for run in RUNS:
            cpu = json.loads(Path(out, f"{task}_{run.name}", "cpu_seconds.json").read_text())
            lines.append(row(task, run.title, run.name, run.reference, out, f"{cpu:.0f}"))
            if run.reference is None:
                title = run.title.replace("10 calls", "asked for 1 call")
                lines.append(row(task, title, f"{run.name}_hurried", run.name, out, "–"))
    replace_table("distillation.md", lines)


def row(task: str, title: str, name: str, reference: str | None, out: str, cpu: str) -> str:
    """One line of the table."""
    folder = f"{out}/{task}_{name}"
    result = load_result(f"{folder}_eval")
    weights = sum(value.numel() for value in generative(load_policy(folder)).network.parameters())
    score, success = result.normalized_score, result.success_rate
    assert score is not None
    difference = "–"
    if reference is not None:
        gap = compare_results(result, load_result(f"{out}/{task}_{reference}_eval")).normalized_difference
        assert gap is not None
        difference = f"{gap.mean:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}]"
    rate = "–" if success is None else f"{success.mean:.2f} [{success.low:.2f}, {success.high:.2f}]"
    figures = f"{score.mean:.1f} [{score.low:.1f}, {score.high:.1f}] | {difference} | {rate} | {cpu}"
    return f"| {task} | {title} | {weights:,} | {figures} |"


def write_curves(out: str) -> None:
    """Plot the evaluations during training, and keep their numbers as CSV."""
    figure, axes = plt.subplots(1, len(TASKS), figsize=(10, 4.2), layout="constrained")
    rows = []
    for axis, task in zip(axes, TASKS, strict=True):
        for run in (run for run in RUNS if run.teacher):
            points = curve(Path(out, f"{task}_{run.name}"))
            axis.plot(*zip(*points, strict=True), marker=".", label=run.title)
            rows += [(task, run.name, step, f"{score:.3f}") for step, score in points]
        for color, teacher in zip(("black", "gray"), ("flow_0", "diffusion_0"), strict=True):
            score = load_result(f"{out}/{task}_{teacher}_eval").normalized_score
            assert score is not None
            axis.axhline(score.mean, color=color, linestyle="--", linewidth=1, label=f"teacher {teacher.split('_')[0]}")
        axis.set(title=task, xlabel="updates", ylabel="normalized score, 10 episodes")
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, ncols=3, loc="outside lower center")
    figure.savefig(DOCS / "media" / "distillation.png", dpi=110)
    with (DOCS / "media" / "distillation.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("data", "student", "updates", "normalized_score"), *rows])


def curve(run: Path) -> list[tuple[int, float]]:
    """(updates, normalized score) of the evaluations while training."""
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(row["step"], row["eval/normalized_score"]) for row in rows if "eval/normalized_score" in row]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
