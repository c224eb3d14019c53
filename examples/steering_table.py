"""Reproduce docs/steering.md: clone eight demonstrations of each skill, and improve the clone by its noise.

    python examples/steering_table.py OUT_FOLDER [TASK ...]     # about two hours on two cores for all

Every run is the printed commands; what is done is not repeated, so the script can be stopped and started again.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from commands import DOCS, laminar, replace_table, train

import laminar as lm
from laminar.data.load import load_episodes
from laminar.envs.make import make_env
from laminar.eval.results.result import load_result
from laminar.eval.results.scores import wilson
from laminar.policies import load_policy
from laminar.policies.guided import Acting, Guided, critic_of
from laminar.train.methods.steering.agent import composed
from laminar.train.methods.steering.config import Config

TASKS = ("open_drawer", "close_drawer", "move_slider_left", "turn_on_lightbulb")
DEMONSTRATIONS, STEPS, EPISODES = 8, 48_000, 100
SEEDS = (0, 1, 2)
METHODS = {"dsrl": SEEDS, "dsrl_sac": SEEDS[:1], "residual": SEEDS[:1]}
CONTROLS = ("base", "bounded", "best_of_32", "filtered")


def main(out: str, tasks: Iterable[str]) -> None:
    """Run what is missing, two at a time, and write the page."""
    tasks = list(tasks) or list(TASKS)
    with ThreadPoolExecutor(2) as pool:
        run_all(pool, [lambda task=task: base(Path(out, task), task) for task in tasks])
        runs = [(task, method, seed) for method, seeds in METHODS.items() for seed in seeds for task in tasks]
        run_all(pool, [lambda run=run: improve(out, *run) for run in runs])
        run_all(pool, [lambda task=task: controls(Path(out, task), task) for task in tasks])
    write_table(out, tasks)
    write_curves(out, tasks)


def run_all(pool: ThreadPoolExecutor, jobs: list[Callable[[], None]]) -> None:
    """Run jobs side by side, and raise what one of them raises."""
    for job in [pool.submit(job) for job in jobs]:
        job.result()


def base(folder: Path, task: str) -> None:
    """Record eight demonstrations of a skill, and clone them."""
    demos = folder / "demonstrations.hdf5"
    if not demos.exists():
        folder.mkdir(parents=True, exist_ok=True)
        laminar(["collect", f"task=playroom/{task}", f"episodes={DEMONSTRATIONS}", "seed=0", f"out={demos}"])
    clone(folder / "base", task, [demos])
    measure(folder / "base", task, folder / "eval_base")


def clone(folder: Path, task: str, files: list[Path]) -> None:
    """Clone some demonstrations as the playroom's page does."""
    paths = f"data.path=[{','.join(map(str, files))}]"
    train(["experiment=playroom-skill", f"task=playroom/{task}", "seed=0", "evaluation.every=0", paths], folder)


def improve(out: str, task: str, method: str, seed: int) -> None:
    """Improve the clone of a task online, and evaluate the last checkpoint on starts of its own."""
    folder = Path(out, task)
    words = [f"method={method}", f"init={folder}/base", f"task=playroom/{task}", f"env.steps={STEPS}", f"seed={seed}"]
    words += ["runtime=compile"] if method != "dsrl_sac" else []
    every = ["evaluation.every=4000", f"evaluation.episodes={EPISODES}", "evaluation.seed=5000"]
    train([*words, *every], folder / f"{method}_{seed}")
    measure(folder / f"{method}_{seed}", task, folder / f"eval_{method}_{seed}")


def measure(policy: Path, task: str, target: Path) -> None:
    """Evaluate the last checkpoint of a run, or a saved policy."""
    if not (target / "eval.json").exists():
        words = ["eval", f"policy.path={policy}", f"task=playroom/{task}", f"episodes={EPISODES}", "seed=5000"]
        laminar([*words, "video_episodes=0", f"out={target}"])


def controls(folder: Path, task: str) -> None:
    """Measure what is not steering: noise within the bound, the critic's choice without an actor, cloned successes."""
    policy = load_policy(folder / "base")
    bounded = composed(policy, Config(candidates=1))
    best = Guided(policy, critic_of(load_policy(folder / "dsrl_0")), Acting(32, "argmax"))
    for name, made in (("bounded", bounded), ("best_of_32", best)):
        if not (folder / name).exists():
            made.save(folder / name)
        measure(folder / name, task, folder / f"eval_{name}")
    successes = folder / "successes.hdf5"
    if not successes.exists():
        lm.write_episodes(successes, list(succeeded(policy, task)), **meaning(folder / "demonstrations.hdf5"))
    clone(folder / "filtered", task, [folder / "demonstrations.hdf5", successes])
    measure(folder / "filtered", task, folder / "eval_filtered")


def succeeded(policy: Any, task: str) -> Iterable[dict[str, Any]]:
    """Yield the successful episodes of as many control steps of the base as a run of steering takes."""
    env, taken, seed = make_env(f"laminar/Playroom-v0?task={task}"), 0, 1_000_000
    generator = np.random.default_rng(0)
    while taken < STEPS:
        policy.reset()
        observation, _ = env.reset(seed=seed)
        seen, done, over, success = [observation], [], False, False
        while not over:
            noise = generator.standard_normal((1, *policy.noise_shape))
            done.append(policy.act(seen[-1], noise))
            observation, _, terminated, truncated, info = env.step(done[-1])
            seen.append(observation)
            over, success = terminated or truncated, success or bool(info["success"])
        taken, seed = taken + len(done), seed + 1
        if success:
            shown = {key: np.stack([one[key] for one in seen]) for key in seen[0]}
            yield {"observation": shown, "action": np.array(done), "terminated": True, "success": True}
    env.close()


def meaning(file: Path) -> dict[str, Any]:
    """Return limits and names of the actions, so that both files of a clone say the same."""
    spec = load_episodes(file).spec
    return {"action_low": spec.action_low, "action_high": spec.action_high, "action_names": spec.action.names}


def write_table(out: str, tasks: list[str]) -> None:
    """Write one row a method, one column a task: every seed's successes of the last checkpoint, and their interval."""
    lines = ["| | " + " | ".join(tasks) + " |", "|---|" + "---|" * len(tasks)]
    for name in CONTROLS:
        lines.append(f"| {name} | " + " | ".join(rate(out, task, [name]) for task in tasks) + " |")
    for method, seeds in METHODS.items():
        names = [f"{method}_{seed}" for seed in seeds]
        lines.append(f"| `{method}` | " + " | ".join(rate(out, task, names) for task in tasks) + " |")
    replace_table("steering.md", lines, "success")


def rate(out: str, task: str, names: list[str]) -> str:
    """Return successes of some evaluations: their mean with its interval over all episodes, and each seed's."""
    each = [[bool(e.success) for e in load_result(Path(out, task, f"eval_{name}")).episodes] for name in names]
    every = [done for outcomes in each for done in outcomes]
    whole = wilson(sum(every), len(every))
    seeds = "" if len(each) == 1 else f" ({', '.join(f'{np.mean(outcomes):.2f}' for outcomes in each)})"
    return f"{whole.mean:.2f} [{whole.low:.2f}, {whole.high:.2f}]{seeds}"


def write_curves(out: str, tasks: list[str]) -> None:
    """Plot success against control steps, each seed a line, and keep the numbers as CSV."""
    figure, axes = plt.subplots(1, len(tasks), figsize=(3.4 * len(tasks), 3.2), layout="constrained", sharey=True)
    rows: list[tuple[Any, ...]] = []
    for axis, task in zip(np.atleast_1d(axes), tasks, strict=True):
        start = load_result(Path(out, task, "eval_base")).success_rate
        axis.axhspan(start.low, start.high, color="0.88")
        axis.axhline(start.mean, color="0.5", linestyle="--", label="base")
        for color, (method, seeds) in zip(("C0", "C1", "C2"), METHODS.items(), strict=False):
            for seed in seeds:
                points = curve(Path(out, task, f"{method}_{seed}"))
                axis.plot(
                    *zip(*points, strict=True), "o-", ms=3, color=color, label=method if seed == seeds[0] else None
                )
                rows += [(task, method, seed, *point) for point in points]
        axis.set(title=task, ylim=(-0.03, 1.03), xlabel="control steps")
        axis.grid(alpha=0.3)
    np.atleast_1d(axes)[0].set_ylabel(f"success, {EPISODES} episodes")
    np.atleast_1d(axes)[0].legend()
    figure.savefig(DOCS / "media" / "steering.png", dpi=100)
    with (DOCS / "media" / "steering.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("task", "method", "seed", "control_steps", "success_rate"), *rows])


def curve(run: Path) -> list[tuple[int, float]]:
    """Return control steps and success of the evaluations of a run."""
    config = json.loads((run / "run.json").read_text())
    method = config["method"]
    log = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    found = [(row["step"], row["eval/success_rate"]) for row in log if "eval/success_rate" in row]
    return [(round(method["warm_up"] + step / method["updates_per_step"]), rate) for step, rate in found]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
