"""Planners of hopper and of mazes, and what a decision of theirs costs: the runs behind docs/planning.md.

    python examples/planners_table.py hopper DATA_FOLDER OUT_FOLDER             # 9 hours of one core
    python examples/planners_table.py mazes DATA_FOLDER OUT_FOLDER              # 5
    python examples/planners_table.py mazes DATA_FOLDER OUT_FOLDER large        # one maze, or one planner of hopper

Every run is the printed commands; what is done is not repeated, and a run that was stopped goes on from its last
checkpoint. DATA_FOLDER has hopper-medium-v4.hdf5, hopper-expert-v4.hdf5 and maze2d-umaze.hdf5; trips through the other
mazes are recorded. Writes hopper.md or mazes.md in OUT_FOLDER, and of hopper hopper.png: score against the time that a
decision takes.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from commands import laminar, train

from laminar.eval.results.result import Result, load_result
from laminar.policies import load_policy
from laminar.policies.planners.anew import Anew, acting_anew
from laminar.policies.runtimes.accelerate import accelerate

SEED, STARTS = 0, 1000  # of training; of the first episode, which nothing was chosen on
UPDATES, EPISODES = (10_000, 100_000, 200_000), 20  # of hopper
HOPPER = (
    *("method=planning", "env.id=hopper-medium-expert-v2", "policy.horizon=9", "policy.execute=4"),
    *("runtime=compile", "runtime.matmul=auto", f"seed={SEED}", f"steps={UPDATES[-1]}"),
    *(f"checkpoint_every={UPDATES[0]}", f"keep_every={UPDATES[0]}"),
)


@dataclass(frozen=True)
class Way:
    """One way to act of a trained planner: what it is called, and the words that an evaluation is told."""

    name: str
    words: tuple[str, ...] = ()
    steps: int | None = None
    anew: Anew | None = None


PLAIN = Way("")
WAYS: dict[str, tuple[Way, ...]] = {
    "veteran": (PLAIN, Way("5 steps", ("policy.steps=5",), 5), Way("2 steps", ("policy.steps=2",), 2)),
    "diffuser": (
        PLAIN,
        Way("one action a plan", ("plan.execute=1",)),
        Way("5 steps", ("policy.steps=5",), 5),
    ),
    "decision_diffuser": (PLAIN,),
    "trajectory_diffuser": (
        PLAIN,
        Way("2 steps", ("plan.draft_steps=2",), anew=Anew(draft_steps=2)),
        Way("1 step", ("plan.draft_steps=1",), anew=Anew(draft_steps=1)),
    ),
    "meanflow_planner": (PLAIN,),
}


@dataclass(frozen=True)
class Maze:
    """One maze: control steps from a state of a plan to the next, all executed, and the updates of each method."""

    env_id: str
    stride: int
    updates: dict[str, int]


def many(maze: str, stride: int, planner: int) -> Maze:
    """A maze with a goal an episode, whose trips are recorded here."""
    env_id = f"laminar/Maze2d-v0?maze={maze}&goals=many"
    return Maze(env_id, stride, {"diffuser": planner, "trajectory_diffuser": planner, **OTHERS})


OTHERS = {"clone": 20_000, "dql": 50_000}
MAZES = {
    "umaze": Maze("maze2d-umaze-v1", 10, {"diffuser": 20_000, "trajectory_diffuser": 20_000, **OTHERS}),
    "medium": many("medium", 9, 40_000),
    "large": many("large", 16, 30_000),
}
FOLLOWED = {"chunks": (), "waypoints, once": ("plan.controller=waypoints", "plan.replan=0")}


def hopper(data: str, out: Path, names: list[str]) -> None:
    """Train planners of hopper, evaluate what they were after each number of updates, and plot what they cost."""
    lines = ["| planner | updates | acts | score | ms of CPU a decision |", "|---|---|---|---|---|"]
    points: dict[str, list[tuple[float, Result]]] = {}
    for name in names or WAYS:
        folder = out / name
        train(
            [f"policy={name}", f"data.path=[{data}/hopper-medium-v4.hdf5,{data}/hopper-expert-v4.hdf5]", *HOPPER],
            folder,
        )
        for updates in UPDATES:
            checkpoint = folder / "checkpoints" / f"step_{updates:08d}"
            for way in WAYS[name] if updates == UPDATES[-1] else WAYS[name][:1]:
                words = (*way.words, "env.id=hopper-medium-expert-v2", f"episodes={EPISODES}")
                found = evaluated(checkpoint, f"{folder}_{updates}_{way.name.replace(' ', '_')}", words)
                cost = milliseconds(checkpoint, way)
                lines.append(f"| {name} | {updates:,} | {way.name} | {found.normalized_score} | {cost:.1f} |")
                if updates == UPDATES[-1]:
                    points.setdefault(name, []).append((cost, found))
    (out / "hopper.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plot(points, out / "hopper.png")


def mazes(data: str, out: Path, names: list[str]) -> None:
    """Train planners, a clone and DQL on the same trips, and evaluate them on the same starts and goals."""
    lines = ["| maze | policy | updates | followed by | goals reached | through walls | score |", "|" + "---|" * 7]
    for name in names or MAZES:
        maze = MAZES[name]
        path = Path(data, "maze2d-umaze.hdf5") if name == "umaze" else recorded(name, out)
        for method, updates in maze.updates.items():
            folder = out / f"{name}_{method}"
            words = [f"data.path={path}", f"env.id={maze.env_id}", f"steps={updates}", f"seed={SEED}"]
            train([*words, *learning(method, maze.stride), "runtime=compile", "runtime.matmul=auto"], folder)
            for how, told in FOLLOWED.items() if "diffuser" in method else [("its own actions", ())]:
                words = [*told, f"env.id={maze.env_id}", "episodes=100"]
                found = evaluated(folder, f"{folder}_{how.replace(', ', '_').replace(' ', '_')}", words)
                walls = found.figures.get("planned steps through walls", "")
                reached = f"{found.success_rate} | {walls} | {found.normalized_score}"
                lines.append(f"| {name} | {method} | {updates:,} | {how} | {reached} |")
    (out / "mazes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def learning(method: str, stride: int) -> list[str]:
    """Return the words that a policy of a maze is trained by."""
    chunks = [f"policy.chunk={stride}", f"policy.execute={stride}"]
    if method == "clone":
        return ["method=bc", "policy=flow", *chunks]
    if method == "dql":
        return ["method=dql"]
    return ["method=planning", f"policy={method}", f"policy.stride={stride}", *chunks]


def recorded(maze: str, out: Path) -> Path:
    """Return the trips through a maze, recorded unless they are there."""
    path = out / f"{maze}.hdf5"
    if not path.exists():
        laminar(["collect", f"task=maze2d/{maze}-many", "episodes=2000", "seed=0", f"out={path}"])
    return path


def evaluated(policy: Path, out: str, words: tuple[str, ...] | list[str]) -> Result:
    """Evaluate a policy, unless it is done."""
    if not Path(out, "eval.json").exists():
        laminar(["eval", f"policy.path={policy}", *words, f"seed={STARTS}", "video_episodes=0", f"out={out}"])
    return load_result(Path(out))


def milliseconds(checkpoint: Path, way: Way) -> float:
    """Return the CPU time of one decision for one robot, on one thread: the median of 50."""
    torch.set_num_threads(1)
    policy = load_policy(checkpoint)
    policy = policy if way.anew is None else acting_anew(policy, way.anew)
    fast = accelerate(policy, "eager", 1, way.steps)
    seen = {key: torch.zeros(1, 1, *feature.shape) for key, feature in policy.spec.observation.items()}
    spent = []
    for _ in range(55):
        before = time.process_time()
        fast.sample(seen)
        spent.append(1e3 * (time.process_time() - before))
    return float(np.median(spent[5:]))


def plot(points: dict[str, list[tuple[float, Result]]], path: Path) -> None:
    """Draw scores with their intervals against what a decision costs."""
    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, found in points.items():
        scores = [result.normalized_score for _, result in found if result.normalized_score is not None]
        middle, low, high = (np.array([getattr(score, end) for score in scores]) for end in ("mean", "low", "high"))
        axis.errorbar(
            [cost for cost, _ in found], middle, (middle - low, high - middle), fmt="o-", capsize=3, label=name
        )
        for (cost, _), way, score in zip(found, WAYS[name], middle, strict=True):
            axis.annotate(way.name, (cost, score), xytext=(4, -10), textcoords="offset points", fontsize=7)
    axis.set(xscale="log", xlabel="milliseconds of CPU a decision, one thread", ylabel="normalized score, 20 episodes")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parts = {"hopper": (hopper, WAYS), "mazes": (mazes, MAZES)}
    part, *given = sys.argv[1:] or [""]
    if part not in parts or len(given) < 2 or any(name not in parts[part][1] for name in given[2:]):
        sys.exit(__doc__)
    Path(given[1]).mkdir(parents=True, exist_ok=True)
    parts[part][0](given[0], Path(given[1]), given[2:])
