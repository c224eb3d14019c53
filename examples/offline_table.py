"""Reproduce docs/offline_q_learning.md: improve on logged data with every method, evaluate, tabulate, draw.

    python examples/offline_table.py DATA_FOLDER OUT_FOLDER                  # six hours on two cores
    python examples/offline_table.py DATA_FOLDER OUT_FOLDER --rehearsal      # minutes: does every step of it work?

Every run is the printed commands; runs that are done are not repeated, and one that was stopped goes on from its
last checkpoint. Needs hopper-medium-v4.hdf5 and hopper-expert-v4.hdf5 in DATA_FOLDER. A rehearsal takes a thousandth of
the updates and one episode, and writes to OUT_FOLDER/rehearsal alone: its numbers mean nothing, and the page stays.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from commands import DOCS, laminar, replace_table, train
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from laminar.data.load import load_episodes
from laminar.envs.d4rl import normalized_score
from laminar.eval.rollouts.offline import NUMBERS

PAGE = "offline_q_learning.md"
# OFQL as it was before its defaults became what examples/ofql_table.py measures.
BEFORE = [
    *("method=ofql", "method.q_scale=data", "method.anchor=0", "method.from_returns=0"),
    "policy.process.one_step_share=0.25",
]
# What is not the default of configs/method/, and why: docs/offline_q_learning.md.
WORDS = {
    "bc": ["method=bc", "policy=meanflow", "network=dql"],
    "ofql": [
        *(*BEFORE, "method.lr=3e-4", "method.critic.layer_norm=false"),
        *("method.n_step=5", "method.eta=20", "method.eta_ramp=0.5"),
    ],
    "dql": ["method=dql", "method.max_grad_norm=5.0"],
    "fql": ["method=fql"],
    "iql": ["method=iql"],
    "rebrac": ["method=rebrac", "method.batch_size=256", "method.lr=3e-4", "method.critic_lr=3e-4"],
}
# What hopper-medium alone takes instead: DQL's published clip for it, and an OFQL that is quick rather than far.
MEDIUM_WORDS = {
    "dql": ["method=dql", "method.max_grad_norm=9.0"],
    "ofql": [
        *(*BEFORE, "method.n_step=1", "method.eta=0.3", "method.lr=1e-3", "method.final_lr=0.0"),
        *("method.critic.layer_norm=true", "method.max_grad_norm=9.0"),
    ],
}
CALM = ("bc", "ofql", "fql")  # functions of their starting noise: measured with half of it too
EPISODES = 20
SHORTER = 1000  # a rehearsal has this share of the updates
# Diffusion-QL's public code on hopper-medium alone, one thread: updates, CPU seconds, score of 10 episodes.
AUTHORS = [(10_000, 664, 9.3), (20_000, 1_319, 8.7), (30_000, 1_975, 19.4), (40_000, 2_619, 34.9)]


@dataclass(frozen=True)
class Run:
    """One training run and its evaluation."""

    method: str
    seed: int
    mixed: bool = True  # medium and expert as one data set, or medium alone
    steps: int = 200_000
    rehearsal: bool = False

    @property
    def folder(self) -> str:
        return f"{'mixed' if self.mixed else 'medium'}_{self.method}_{self.seed}"

    @property
    def every(self) -> int:
        return self.steps // (10 if self.mixed else 4)  # where the curve of the authors' code has its points

    @property
    def env_id(self) -> str:
        return f"hopper-medium{'-expert' if self.mixed else ''}-v2"

    def files(self, data: str) -> list[str]:
        names = ["hopper-medium-v4.hdf5", "hopper-expert-v4.hdf5"]
        return [f"{data}/{name}" for name in (names if self.mixed else names[:1])]

    def training(self, data: str) -> list[str]:
        """The settings that make this run."""
        train = ["experiment=hopper-mixed", *(WORDS if self.mixed else MEDIUM_WORDS)[self.method]]
        train += [f"env.id={self.env_id}"]
        train += [f"data.path=[{','.join(self.files(data))}]", f"seed={self.seed}"]
        train += [f"steps={self.steps}", f"evaluation.every={self.every}", f"checkpoint_every={self.every}"]
        # Compiling takes longer than a rehearsal.
        train += ["runtime=eager", "evaluation.episodes=1"] if self.rehearsal else ["runtime=compile"]
        return train

    def evaluations(self, out: str) -> list[list[str]]:
        """The commands that measure it."""
        folder = f"{out}/{self.folder}"
        words = ["eval", f"policy.path={folder}", f"env.id={self.env_id}", "protocol=offline", "seed=0"]
        words += [f"episodes={1 if self.rehearsal else EPISODES}", "video_episodes=0"]
        calm = [[*words, "noise_scale=0.5", f"out={folder}/calm"]] if self.method in CALM else []
        return [[*words, f"out={folder}/eval"], *calm]


MIXED = [Run("ofql", seed) for seed in (0, 1, 2)] + [Run(method, 0) for method in WORDS if method != "ofql"]
MEDIUM = [Run(method, 0, mixed=False, steps=40_000) for method in ("dql", "ofql")]


def main(data: str, out: str, rehearsal: bool = False) -> None:
    """Run what is missing, two runs at a time, and write the page."""
    docs, mixed, medium = DOCS, MIXED, MEDIUM
    if rehearsal:
        docs, out = Path(out, "rehearsal", "docs"), f"{out}/rehearsal"
        (docs / "media").mkdir(parents=True, exist_ok=True)
        shutil.copy(DOCS / PAGE, docs)
        mixed, medium = (
            [replace(run, steps=run.steps // SHORTER, rehearsal=True) for run in runs] for runs in (MIXED, MEDIUM)
        )
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda run: execute(run, data, out), medium + mixed))
    write_curves(mixed, medium, data, out, docs)
    for runs, kind, mark in (
        (mixed, "eval", "mixed"),
        ([run for run in mixed if run.method in CALM], "calm", "calm"),
        (medium, "eval", "medium"),
    ):
        laminar(["table", *(f"{out}/{run.folder}/{kind}" for run in runs), f"out={out}/{mark}"])
        replace_table(PAGE, compact(Path(out, f"{mark}.csv")), mark, docs)


def execute(run: Run, data: str, out: str) -> None:
    """Train and evaluate one run in its own processes, unless it is done."""
    train(run.training(data), Path(out, run.folder))
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


def write_curves(mixed: list[Run], medium: list[Run], data: str, out: str, docs: Path = DOCS) -> None:
    """Plot the evaluations during training against updates and CPU time, and keep their numbers as CSV."""
    figure, (both, updates, cpu) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    for run in mixed:
        both.plot(*zip(*curve(out, run), strict=True), color=color(run), label=None if run.seed else run.method)
    behavior(both, mixed[0], data)
    for run in medium:
        points = curve(out, run)
        seconds = json.loads(Path(out, run.folder, "cpu_seconds.json").read_text())
        spent = [(seconds * step / run.steps, score) for step, score in points]
        updates.plot(*zip(*points, strict=True), color=color(run), label=run.method)
        cpu.plot(*zip(*spent, strict=True), color=color(run), label=run.method)
    updates.plot([row[0] for row in AUTHORS], [row[2] for row in AUTHORS], "k:", label="Diffusion-QL's code")
    cpu.plot([row[1] for row in AUTHORS], [row[2] for row in AUTHORS], "k:", label="Diffusion-QL's code")
    behavior(updates, medium[0], data)
    both.set(title="hopper-medium + hopper-expert", xlabel="updates", ylabel="normalized score, 10 episodes")
    updates.set(title="hopper-medium", xlabel="updates")
    cpu.set(title="hopper-medium", xlabel="CPU seconds, one thread")
    for axis in (both, updates):
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axis in (both, updates, cpu):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))  # the curves fill the frame
    figure.savefig(docs / "media" / "offline_q_learning.png", dpi=110)
    rows = [(run.folder, step, f"{score:.3f}") for run in mixed + medium for step, score in curve(out, run)]
    with (docs / "media" / "offline_q_learning.csv").open("w", newline="") as stream:
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
    folders = [word for word in sys.argv[1:] if word != "--rehearsal"]
    if len(folders) != 2 or any(word.startswith("-") for word in folders):
        sys.exit(__doc__)
    main(*folders, rehearsal="--rehearsal" in sys.argv[1:])
