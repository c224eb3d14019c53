"""Reproduce docs/playroom.md: clone the eight skills one by one, then all 34 tasks from play data.

    python examples/playroom_table.py OUT_FOLDER     # about an hour on two cores

Every run is the printed commands; what is done is not repeated, so the script can be stopped and started again.
"""

from __future__ import annotations

import csv
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
from commands import DOCS, laminar, replace_table, train

from laminar.envs.make import make_env
from laminar.eval.results.chain_result import load_chain_result
from laminar.eval.results.result import load_result
from laminar.eval.results.scores import bootstrap, wilson

SKILLS = (
    *("open_drawer", "close_drawer", "move_slider_left", "move_slider_right"),
    *("turn_on_lightbulb", "turn_off_lightbulb", "turn_on_led", "turn_off_led"),
)
EPISODES = 100


def main(out: str) -> None:
    """Run what is missing, two at a time, and write the page."""
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(play, out), *(pool.submit(skill, task, out) for task in SKILLS)]
        for job in jobs:
            job.result()
    write_skills(out)
    write_chains(out)
    write_curves(out)
    write_scenes()


def skill(task: str, out: str) -> None:
    """Record 50 demonstrations of a skill, clone them, and evaluate on starts that were not recorded."""
    folder = Path(out, task)
    once(folder / "demonstrations.hdf5", ["collect", f"task=playroom/{task}", "episodes=50", "seed=0"])
    settings = ["experiment=playroom-skill", f"task=playroom/{task}", "seed=0"]
    train([*settings, f"data.path={folder}/demonstrations.hdf5"], folder / "run")
    evaluate = ["eval", f"policy.path={folder}/run", f"task=playroom/{task}", f"episodes={EPISODES}", "seed=5000"]
    once(folder / "eval", [*evaluate, "video_episodes=2"])


def play(out: str) -> None:
    """Record play, clone its annotated windows, and evaluate chains of five tasks."""
    folder = Path(out, "play")
    once(folder / "data", ["collect", "task=playroom/play", "steps=1000000", "seed=0"])
    train(["experiment=playroom-chains", f"data.path={folder}/data", "seed=0"], folder / "run")
    evaluate = ["eval", f"policy.path={folder}/run", "task=calvin-chain", "chains=1000", "processes=2", "seed=0"]
    once(folder / "eval", evaluate)


def once(target: Path, words: list[str]) -> None:
    """Run a command that makes `target`, unless it has; keep its CPU seconds beside it."""
    done = target.with_name(f"{target.stem}_seconds.json")
    if not done.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(json.dumps(laminar([*words, f"out={target}"])))


def write_skills(out: str) -> None:
    """Write one row a skill, and the mean over the skills."""
    lines = ["| skill | success | 95 % | mean length | CPU s of training |", "|---|---|---|---|---|"]
    outcomes: list[list[bool]] = []
    for task in SKILLS:
        episodes = load_result(f"{out}/{task}/eval").episodes
        outcomes.append([bool(episode.success) for episode in episodes])
        rate = wilson(sum(outcomes[-1]), len(episodes))
        length = sum(episode.length for episode in episodes) / len(episodes)
        seconds = json.loads(Path(out, task, "run", "cpu_seconds.json").read_text())
        lines.append(f"| {task} | {rate.mean:.2f} | [{rate.low:.2f}, {rate.high:.2f}] | {length:.0f} | {seconds:.0f} |")
    mean = bootstrap(outcomes)
    lines.append(f"| **mean of the eight** | **{mean.mean:.3f}** | [{mean.low:.3f}, {mean.high:.3f}] | | |")
    replace_table("playroom.md", lines, "skills")


def write_chains(out: str) -> None:
    """Write the table of chains, and the success of each task in them."""
    result = load_chain_result(f"{out}/play/eval")
    lines = ["| tasks in a row | share of chains | 95 % |", "|---|---|---|"]
    lines += [f"| {count} | {x.mean:.2f} | [{x.low:.2f}, {x.high:.2f}] |" for count, x in result.in_a_row.items()]
    length = result.average_length
    lines.append(f"| **average length** | **{length.mean:.2f}** | [{length.low:.2f}, {length.high:.2f}] |")
    replace_table("playroom.md", lines, "chains")
    lines = ["| task | successes / attempts |", "|---|---|"]
    lines += [f"| {task} | {done} / {tried} |" for task, (done, tried) in sorted(result.tasks.items())]
    replace_table("playroom.md", lines, "tasks")


def write_scenes() -> None:
    """Show what the two cameras see in each scene, at a random start."""
    figure, axes = plt.subplots(2, 4, figsize=(11, 5.6), layout="constrained")
    for column, scene in zip(axes.T, "ABCD", strict=True):
        env = make_env(f"laminar/Playroom-v0?scene={scene}&cameras=true&static_size=400&gripper_size=400")
        observation, _ = env.reset(seed=1)
        for axis, key in zip(column, ("rgb_static", "rgb_gripper"), strict=True):
            axis.imshow(observation[key])
            axis.axis("off")
        column[0].set_title(f"scene {scene}")
        env.close()
    figure.savefig(DOCS / "media" / "playroom_scenes.png", dpi=70)


def write_curves(out: str) -> None:
    """Plot success against updates for the eight skills, and keep the numbers as CSV."""
    figure, axes = plt.subplots(2, 4, figsize=(13, 5), layout="constrained", sharey=True)
    rows: list[tuple[str, int, float]] = []
    for axis, task in zip(axes.flat, SKILLS, strict=True):
        log = map(json.loads, Path(out, task, "run", "metrics.jsonl").read_text().splitlines())
        points = [(row["step"], row["eval/success_rate"]) for row in log if "eval/success_rate" in row]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3)
        axis.set(title=task, ylim=(-0.03, 1.03))
        axis.grid(alpha=0.3)
        rows += [(task, step, rate) for step, rate in points]
    figure.supxlabel("updates")
    figure.supylabel("success, 20 episodes")
    figure.savefig(DOCS / "media" / "playroom_skills.png", dpi=100)
    with (DOCS / "media" / "playroom_skills.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("task", "updates", "success_rate"), *rows])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
