"""Reproduce docs/world_models.md: a world model of play, clones of eight skills, and what they become in dreams.

    python examples/dreams_table.py OUT_FOLDER [TASK ...]     # about three hours on two cores for all

Every run is the printed commands; what is done is not repeated, so the script can be stopped and started again.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from commands import DOCS, laminar, replace_table, train
from numpy.typing import NDArray

from laminar.eval.results.result import load_result
from laminar.eval.results.scores import wilson

TASKS = (
    "open_drawer",
    "close_drawer",
    "move_slider_left",
    "move_slider_right",
    "turn_on_lightbulb",
    "turn_off_lightbulb",
    "turn_on_led",
    "turn_off_led",
)
DEMONSTRATIONS = dict.fromkeys(TASKS, 8) | {  # for clones that do half of it
    "turn_off_lightbulb": 16,
    "move_slider_right": 2,
    "turn_on_led": 1,
    "turn_off_led": 1,
}
RECORDED = dict.fromkeys(TASKS, 0) | {"move_slider_right": 1}  # seeds of the demonstrations
PLAY, UPDATES, EPISODES = 300_000, 6_000, 100
SEEDS = {task: (0, 1, 2) if task in TASKS[:3] else (0,) for task in TASKS}


def main(out: str, tasks: Iterable[str]) -> None:
    """Run what is missing, two at a time, and write the page."""
    tasks, root = list(tasks) or list(TASKS), Path(out)
    if not (root / "play").exists():
        laminar(["collect", "task=playroom/play", f"steps={PLAY}", "seed=0", f"out={root / 'play'}"])
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(world, root), *(pool.submit(clone, root / task, task) for task in tasks)]
        for job in jobs:
            job.result()
        runs = [(task, seed) for seed in range(3) for task in tasks if seed in SEEDS[task]]
        for job in [pool.submit(improve, root, task, seed) for task, seed in runs]:
            job.result()
    write_table(root, tasks)
    write_curves(root, tasks)


def world(root: Path) -> None:
    """Learn the world model."""
    train(["method=world_model", f"data.path={root / 'play'}", f"steps={UPDATES}", "seed=0"], root / "world")


def clone(folder: Path, task: str) -> None:
    """Clone a few demonstrations of a skill by a diffusion policy, and measure the clone."""
    demos, base = folder / "demonstrations.hdf5", folder / "base"
    if not demos.exists():
        folder.mkdir(parents=True, exist_ok=True)
        few = [f"episodes={DEMONSTRATIONS[task]}", f"seed={RECORDED[task]}"]
        laminar(["collect", f"task=playroom/{task}", *few, f"out={demos}"])
    words = ["experiment=playroom-skill", "policy=diffusion", f"task=playroom/{task}", "seed=0", "evaluation.every=0"]
    train([*words, f"data.path={demos}"], base)
    measure(base, task, folder / "eval_base")


def improve(root: Path, task: str, seed: int) -> None:
    """Improve a clone in dreams, without a step of the simulator, and measure the last checkpoint there."""
    folder = root / task
    words = ["method=diwa", f"init={folder / 'base'}", f"world={root / 'world'}", f"task=playroom/{task}"]
    train([*words, f"data.path={root / 'play'}", f"seed={seed}"], folder / f"diwa_{seed}")
    measure(folder / f"diwa_{seed}", task, folder / f"eval_diwa_{seed}")


def measure(policy: Path, task: str, target: Path) -> None:
    """Evaluate a run's last checkpoint on starts that are the same for all."""
    if not (target / "eval.json").exists():
        words = ["eval", f"policy.path={policy}", f"task=playroom/{task}", f"episodes={EPISODES}", "seed=5000"]
        laminar([*words, "video_episodes=0", f"out={target}"])


def outcomes(folder: Path, name: str) -> NDArray[Any]:
    """Return (EPISODES,) whether each start ended in success."""
    return np.array([bool(episode.success) for episode in load_result(folder / f"eval_{name}").episodes])


def write_table(root: Path, tasks: list[str]) -> None:
    """Write one row a skill: the clone, each seed, and the gain on the same starts with its interval."""
    lines = ["| skill | clone | after dreaming (each seed) | gain in points | p |", "|---|---|---|---|---|"]
    gains: list[float] = []
    for task in tasks:
        base = outcomes(root / task, "base")
        each = [outcomes(root / task, f"diwa_{seed}") for seed in SEEDS[task]]
        difference = np.mean(each, axis=0) - base
        error = 1.96 * difference.std(ddof=1) / len(difference) ** 0.5
        gains.append(float(difference.mean()))
        start = wilson(int(base.sum()), len(base))
        seeds = ", ".join(f"{one.mean():.2f}" for one in each)
        lines.append(
            f"| {task} | {start.mean:.2f} [{start.low:.2f}, {start.high:.2f}] | {np.mean(each):.2f} ({seeds}) | "
            f"{100 * difference.mean():+.0f} ± {100 * error:.0f} | {sign_flip(difference):.4f} |"
        )
    lines.append(f"| mean | | | {100 * np.mean(gains):+.1f} | |")
    replace_table("world_models.md", lines, "skills")


def sign_flip(difference: NDArray[Any], draws: int = 10_000) -> float:
    """Return the two-sided p of a paired permutation test: how often flipped signs give as large a mean."""
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (draws, len(difference)))
    flipped = np.abs((signs * difference).mean(axis=1))
    return float((1 + (flipped >= abs(difference.mean()) - 1e-12).sum()) / (1 + draws))


def write_curves(root: Path, tasks: list[str]) -> None:
    """Plot success in dreams over updates, with the clone's and the last checkpoint's in the simulator beside it."""
    figure, axes = plt.subplots(
        2, (len(tasks) + 1) // 2, figsize=(13, 6), layout="constrained", sharey=True, squeeze=False
    )
    rows: list[tuple[Any, ...]] = []
    for axis, task in zip(axes.flat, tasks, strict=False):
        axis.axhline(outcomes(root / task, "base").mean(), color="0.5", linestyle="--", label="clone, simulator")
        for seed in SEEDS[task]:
            points = dreamed(root / task / f"diwa_{seed}")
            axis.plot(*zip(*points, strict=True), color=f"C{seed}", label=f"seed {seed}, dreams")
            last = outcomes(root / task, f"diwa_{seed}").mean()
            axis.plot(points[-1][0], last, "o", color=f"C{seed}", label=f"seed {seed}, simulator")
            rows += [(task, seed, *point) for point in points]
        axis.set(title=task, ylim=(-0.03, 1.03), xlabel="updates")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("success")
    axes[0, 0].legend(fontsize=7)
    figure.savefig(DOCS / "media" / "dreams.png", dpi=110)
    with (DOCS / "media" / "dreams.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("task", "seed", "update", "dream_success"), *rows])


def dreamed(run: Path) -> list[tuple[int, float]]:
    """Return update and success of the last dreams, of each row of a run's log."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["step"], row["train_success"]) for row in rows if "train_success" in row and "loss" in row]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
