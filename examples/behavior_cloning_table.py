"""Reproduce docs/behavior_cloning.md: clone three files with every process and seed, evaluate, tabulate.

    python examples/behavior_cloning_table.py DATA_FOLDER OUT_FOLDER     # two hours on two cores

Every run is the two printed commands; runs that are done are not repeated, so the script can be stopped and
started again. Needs hopper-medium-v4.hdf5, door-expert-v1.hdf5 and door-human-v1.hdf5 in DATA_FOLDER.
"""

from __future__ import annotations

import csv
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from commands import DOCS, laminar, replace_table, train

from laminar.eval.results.result import Result, load_result
from laminar.eval.results.scores import Interval, bootstrap, wilson

PROCESSES = {"flow": "flow, 10 Euler steps", "diffusion": "diffusion, DDIM 10", "meanflow": "mean flow, 1 call"}
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Task:
    """One data file; the settings are those of configs/experiment/NAME.yaml."""

    title: str
    file: str
    env_id: str


TASKS = {
    "door-expert": Task("door-expert", "door-expert-v1.hdf5", "door-expert-v1"),
    "hopper-medium": Task("hopper-medium", "hopper-medium-v4.hdf5", "hopper-medium-v2"),
    "door-human": Task("door-human", "door-human-v1.hdf5", "door-human-v1"),
    "door-human-chunk": Task("door-human, chunk 8, execute 4", "door-human-v1.hdf5", "door-human-v1"),
}


@dataclass(frozen=True)
class Run:
    """One training run and its evaluation."""

    name: str
    process: str
    seed: int

    @property
    def task(self) -> Task:
        return TASKS[self.name]

    @property
    def folder(self) -> str:
        return f"{self.name}_{self.process}_{self.seed}"

    def commands(self, data: str, out: str) -> list[list[str]]:
        """The settings that make this run, and the command that measures it."""
        folder = f"{out}/{self.folder}"
        train = [f"experiment={self.name}", f"policy={self.process}", f"seed={self.seed}"]
        train += [f"data.path={data}/{self.task.file}"]
        evaluate = ["eval", f"policy.path={folder}", f"env.id={self.task.env_id}", "episodes=50", "seed=0"]
        return [train, [*evaluate, "video_episodes=0", f"out={folder}/eval"]]


def main(data: str, out: str) -> None:
    """Run what is missing, two runs at a time, and write the page."""
    runs = [Run(name, process, seed) for seed in SEEDS for name in TASKS for process in PROCESSES]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda run: execute(run, data, out), runs))
    results = {run: load_result(f"{out}/{run.folder}/eval") for run in runs}
    cpu = {run: json.loads(Path(f"{out}/{run.folder}/cpu_seconds.json").read_text()) for run in runs}
    write_curves(runs, out)
    write_page(runs, results, cpu)


def execute(run: Run, data: str, out: str) -> None:
    """Train and evaluate one run in its own processes, unless it is done."""
    folder = Path(out, run.folder)
    training, evaluate = run.commands(data, out)
    train(training, folder)
    if not (folder / "eval/eval.json").exists():
        laminar(evaluate)


def pooled(results: list[Result]) -> tuple[Interval, Interval | None]:
    """Score over all seeds (training seeds are the strata) and success rate over all episodes."""
    score = bootstrap([result.scores for result in results])
    told = [episode.success for result in results for episode in result.episodes]
    success = None if None in told else wilson(sum(bool(s) for s in told), len(told))
    return score, success


def write_page(runs: list[Run], results: dict[Run, Result], cpu: dict[Run, float]) -> None:
    """Replace the table between the two marks of docs/behavior_cloning.md."""
    lines = [
        "| data | process | seed 0 | seed 1 | seed 2 | score, 150 episodes | success | CPU s per run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, task in TASKS.items():
        for process, title in PROCESSES.items():
            mine = [run for run in runs if (run.name, run.process) == (name, process)]
            each = " | ".join(f"{results[run].normalized_score.mean:.1f}" for run in mine)
            score, success = pooled([results[run] for run in mine])
            rate = f"{success.mean:.2f} [{success.low:.2f}, {success.high:.2f}]" if success else "–"
            seconds = max(cpu[run] for run in mine)
            figures = f"{score.mean:.1f} [{score.low:.1f}, {score.high:.1f}] | {rate} | {seconds:.0f}"
            lines.append(f"| {task.title} | {title} | {each} | {figures} |")
    replace_table("behavior_cloning.md", lines)


def write_curves(runs: list[Run], out: str) -> None:
    """Plot the evaluations during training, and keep their numbers as CSV."""
    figure, axes = plt.subplots(1, len(TASKS), figsize=(4 * len(TASKS), 3.4), layout="constrained")
    rows = []
    for axis, (name, task) in zip(axes, TASKS.items(), strict=True):
        for color, (process, title) in enumerate(PROCESSES.items()):
            curves = [curve(out, run) for run in runs if (run.name, run.process) == (name, process)]
            for seed, points in zip(SEEDS, curves, strict=True):
                axis.plot(*zip(*points, strict=True), color=f"C{color}", alpha=0.3, linewidth=1)
                rows += [(name, process, seed, step, f"{score:.3f}") for step, score in points]
            steps = [step for step, _ in curves[0]]
            mean = np.mean([[score for _, score in points] for points in curves], axis=0)
            axis.plot(steps, mean, color=f"C{color}", label=title)
        axis.set(title=task.title, xlabel="updates", ylabel="normalized score, 10 episodes")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8, loc="lower right")
    figure.savefig(DOCS / "media" / "behavior_cloning.png", dpi=110)
    with (DOCS / "media" / "behavior_cloning.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("data", "process", "seed", "updates", "normalized_score"), *rows])


def curve(out: str, run: Run) -> list[tuple[int, float]]:
    """(updates, normalized score) of the evaluations while training."""
    rows = map(json.loads, Path(out, run.folder, "metrics.jsonl").read_text().splitlines())
    return [(row["step"], row["eval/normalized_score"]) for row in rows if "eval/normalized_score" in row]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
