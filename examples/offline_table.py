"""Reproduce docs/offline_q_learning.md: improve on logged data with every method, evaluate, tabulate, draw.

    python examples/offline_table.py DATA_FOLDER OUT_FOLDER     # six hours on two cores

Every run is the printed commands; runs that are done are not repeated, and one that was stopped goes on from its
last checkpoint. Needs hopper-medium-v4.hdf5 and hopper-expert-v4.hdf5 in DATA_FOLDER.
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
from commands import DOCS, laminar, replace_table
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from laminar.data.load import load_episodes
from laminar.envs.d4rl import normalized_score
from laminar.eval.offline import NUMBERS

# What is not the default of configs/method/, and why: docs/offline_q_learning.md.
WORDS = {
    "bc": ["method=bc", "policy=meanflow", "network=dql"],
    "ofql": ["method=ofql", "method.n_step=5"],
    "dql": ["method=dql", "method.max_grad_norm=5.0"],
    "fql": ["method=fql"],
    "iql": ["method=iql"],
    "rebrac": ["method=rebrac", "method.batch_size=256", "method.lr=3e-4", "method.critic_lr=3e-4"],
}
# What hopper-medium alone takes instead: DQL's published clip for it, and an OFQL that is quick rather than far.
MEDIUM_WORDS = {
    "dql": ["method=dql", "method.max_grad_norm=9.0"],
    "ofql": [
        *("method=ofql", "method.eta=0.3", "method.lr=1e-3", "method.final_lr=0.0"),
        *("method.critic.layer_norm=true", "method.max_grad_norm=9.0"),
    ],
}
CALM = ("bc", "ofql", "fql")  # functions of their starting noise: measured with half of it too
# Diffusion-QL's public code on hopper-medium alone, one thread: updates, CPU seconds, score of 10 episodes.
AUTHORS = [(10_000, 664, 9.3), (20_000, 1_319, 8.7), (30_000, 1_975, 19.4), (40_000, 2_619, 34.9)]


@dataclass(frozen=True)
class Run:
    """One training run and its evaluation."""

    method: str
    seed: int
    mixed: bool = True  # medium and expert as one data set, or medium alone
    steps: int = 200_000

    @property
    def folder(self) -> str:
        return f"{'mixed' if self.mixed else 'medium'}_{self.method}_{self.seed}"

    @property
    def every(self) -> int:
        return 20_000 if self.mixed else 10_000  # where the curve of the authors' code has its points

    @property
    def env_id(self) -> str:
        return f"hopper-medium{'-expert' if self.mixed else ''}-v2"

    def files(self, data: str) -> list[str]:
        names = ["hopper-medium-v4.hdf5", "hopper-expert-v4.hdf5"]
        return [f"{data}/{name}" for name in (names if self.mixed else names[:1])]

    def training(self, data: str, out: str) -> list[str]:
        """The command that makes this run."""
        folder, words = f"{out}/{self.folder}", (WORDS if self.mixed else MEDIUM_WORDS)[self.method]
        train = ["train", "experiment=hopper-mixed", *words, f"env.id={self.env_id}"]
        train += [f"data.path=[{','.join(self.files(data))}]", "runtime=compile", f"seed={self.seed}"]
        train += [f"steps={self.steps}", f"evaluation.every={self.every}", f"checkpoint_every={self.every}"]
        return [*train, f"out={folder}", "resume=true"]

    def evaluations(self, out: str) -> list[list[str]]:
        """The commands that measure it."""
        folder = f"{out}/{self.folder}"
        words = ["eval", f"policy.path={folder}", f"env.id={self.env_id}", "protocol=offline", "episodes=20", "seed=0"]
        words += ["video_episodes=0"]
        calm = [[*words, "noise_scale=0.5", f"out={folder}/calm"]] if self.method in CALM else []
        return [[*words, f"out={folder}/eval"], *calm]


MIXED = [Run("ofql", seed) for seed in (0, 1, 2)] + [Run(method, 0) for method in WORDS if method != "ofql"]
MEDIUM = [Run(method, 0, mixed=False, steps=40_000) for method in ("dql", "ofql")]


def main(data: str, out: str) -> None:
    """Run what is missing, two runs at a time, and write the page."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda run: execute(run, data, out), MEDIUM + MIXED))
    write_curves(data, out)
    for runs, kind, mark in (
        (MIXED, "eval", "mixed"),
        ([run for run in MIXED if run.method in CALM], "calm", "calm"),
        (MEDIUM, "eval", "medium"),
    ):
        laminar(["table", *(f"{out}/{run.folder}/{kind}" for run in runs), f"out={out}/{mark}"])
        replace_table("offline_q_learning.md", compact(Path(out, f"{mark}.csv")), mark)


def execute(run: Run, data: str, out: str) -> None:
    """Train and evaluate one run in its own processes, unless it is done."""
    folder = Path(out, run.folder)
    if not (folder / "cpu_seconds.json").exists():
        seconds = laminar(run.training(data, out))
        (folder / "cpu_seconds.json").write_text(json.dumps(seconds))
    for words in run.evaluations(out):
        if not Path(words[-1].removeprefix("out="), "eval.json").exists():
            laminar(words)


def compact(figures: Path) -> list[str]:
    """Return the figures of `laminar table` as one Markdown table: a line for each method, a column for each number."""
    found: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(figures.read_text().splitlines()):
        line = found.setdefault(row["method"], {"seeds": row["training_seeds"].replace(" ", ", ")})
        line[row["number"]] = f"{float(row['mean']):.1f} [{float(row['low']):.1f}, {float(row['high']):.1f}]"
    head = ["method", "training seeds", "single sample", "choice of 50", "best checkpoint"]
    rows = [[name, *(line.get(key, "–") for key in ("seeds", *NUMBERS))] for name, line in found.items()]
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def curve(out: str, run: Run) -> list[tuple[int, float]]:
    """(updates, normalized score) of the evaluations while training."""
    rows = map(json.loads, Path(out, run.folder, "metrics.jsonl").read_text().splitlines())
    return [(row["step"], row["eval/normalized_score"]) for row in rows if "eval/normalized_score" in row]


def write_curves(data: str, out: str) -> None:
    """Plot the evaluations during training against updates and CPU time, and keep their numbers as CSV."""
    figure, (mixed, updates, cpu) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    for run in MIXED:
        mixed.plot(*zip(*curve(out, run), strict=True), color=color(run), label=None if run.seed else run.method)
    behavior(mixed, MIXED[0], data)
    for run in MEDIUM:
        points = curve(out, run)
        seconds = json.loads(Path(out, run.folder, "cpu_seconds.json").read_text())
        spent = [(seconds * step / run.steps, score) for step, score in points]
        updates.plot(*zip(*points, strict=True), color=color(run), label=run.method)
        cpu.plot(*zip(*spent, strict=True), color=color(run), label=run.method)
    updates.plot([row[0] for row in AUTHORS], [row[2] for row in AUTHORS], "k:", label="Diffusion-QL's code")
    cpu.plot([row[1] for row in AUTHORS], [row[2] for row in AUTHORS], "k:", label="Diffusion-QL's code")
    behavior(updates, MEDIUM[0], data)
    mixed.set(title="hopper-medium + hopper-expert", xlabel="updates", ylabel="normalized score, 10 episodes")
    updates.set(title="hopper-medium", xlabel="updates")
    cpu.set(title="hopper-medium", xlabel="CPU seconds, one thread")
    for axis in (mixed, updates):
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axis in (mixed, updates, cpu):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(DOCS / "media" / "offline_q_learning.png", dpi=110)
    rows = [(run.folder, step, f"{score:.3f}") for run in MIXED + MEDIUM for step, score in curve(out, run)]
    with (DOCS / "media" / "offline_q_learning.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("run", "updates", "normalized_score"), *rows])


def color(run: Run) -> str:
    return f"C{list(WORDS).index(run.method)}"


def behavior(axis: Axes, run: Run, data: str) -> None:
    """Draw the mean score of the recorded trajectories."""
    scores = normalized_score(run.env_id, load_episodes(run.files(data)).returns())
    assert scores is not None
    label = f"trajectories of the data, {np.mean(scores):.1f}"
    axis.axhline(np.mean(scores), color="gray", linestyle="--", label=label)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
