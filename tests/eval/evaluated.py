"""Made-up training runs and their evaluations, written as training and evaluation write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from laminar.envs.d4rl import resolve
from laminar.eval.results.result import Episode, Result
from laminar.eval.results.run_record import DIVERGED, METRICS
from laminar.eval.rollouts.offline import OfflineResult
from laminar.policies.guided import Acting
from laminar.policies.storage import write_json

OFQL = {"name": "q_learning", "recipe": "ofql", "eta": 1.0, "critic": {"width": 256}}
SETTINGS: dict[str, Any] = {
    "data": {"path": "/anywhere/hopper-medium-v4.hdf5", "observation": None},
    "policy": {"process": {"name": "meanflow", "steps": 1}},
    "method": {"name": "q_learning", "recipe": "ofql", "eta": 0.3, "reward": "none", "critic": {"width": 256}},
    "runtime": {"compiled": False},
    "evaluation": {"every": 5, "episodes": 2, "seed": 10_000},
    "env": {"id": None},
    "steps": 40,
    "init": None,
    "out": "runs/a",
    "seed": 0,
}
CLONE: dict[str, Any] = {"method": {"name": "bc"}}
NOT_KNOWN = "Pendulum-v1"  # an environment that tells no success, and to which no score refers
NO_CRITIC = {"candidates_last": "the policy has no critic"}


def published(recipe: str) -> dict[str, Any]:
    """Return the settings that a recipe brings."""
    return OFQL if recipe == "ofql" else {}


def settings_of(name: str, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Return settings in which some, with dotted names, are others."""
    settings = deepcopy(SETTINGS) | {"seed": seed, "out": name}
    for key, value in changes.items():
        group, _, last = key.rpartition(".")
        (settings[group] if group else settings)[last] = value
    return settings


def episodes(scores: Sequence[float], env_id: str = "hopper-medium-v2") -> list[Episode]:
    """Return one episode for each normalized score, on seeds 0, 1, …; where there is no score 100 is a success."""
    task = resolve(env_id)
    if task is None and env_id != NOT_KNOWN:
        return [Episode(seed, float(score >= 100), 100, score >= 100) for seed, score in enumerate(scores)]
    task = task or resolve("hopper-medium-v2")
    assert task is not None
    assert task.ref_min is not None
    assert task.ref_max is not None
    returns = [task.ref_min + score / 100 * (task.ref_max - task.ref_min) for score in scores]
    return [Episode(seed, total, 100, None) for seed, total in enumerate(returns)]


def record_run(folder: Path, name: str, scores: Sequence[float], seed: int = 0, **changes: Any) -> Path:
    """Write the eval.json of a made-up run, and return its folder.

    Args:
        folder: of all runs.
        name: of the run.
        scores: of its episodes; the second and third number are 10 and 20 higher.
        seed: of the training.
        changes: settings, env_id, updates, acting, missing numbers, version of mujoco, env_steps.
    """
    settings = settings_of(name, seed, changes.get("settings", {}))
    env_id, updates = changes.get("env_id", "hopper-medium-v2"), changes.get("updates", 40)
    missing = changes.get("missing", {})
    acting = {"candidates_last": changes.get("acting", Acting(50))}
    numbers = {
        key: Result(env_id, episodes([score + more for score in scores], env_id), acting=acting.get(key, Acting()))
        for key, more in (("single_last", 0), ("candidates_last", 10), ("best", 20))
    }
    numbers = {key: value for key, value in numbers.items() if key not in missing}
    for result in numbers.values():
        result.versions = {"mujoco": changes.get("mujoco", "3.3"), "torch": "2.6"}
    steps = {key: 10 * seed if key == "best" else updates for key in numbers}
    acted = changes.get("env_steps", 0)
    return OfflineResult(numbers, missing, steps, None, name, settings, acted).save(folder / name / "eval").parent


def begin_run(folder: Path, name: str, seed: int, done: int, diverged: str = "", **settings: Any) -> Path:
    """Write the folder of a run that came to so many updates and was not evaluated, and return it."""
    run = folder / name
    run.mkdir(parents=True)
    write_json(run / "run.json", settings_of(name, seed, settings))
    (run / METRICS).write_text("".join(json.dumps({"step": at, "loss": 1.0}) + "\n" for at in range(10, done + 1, 10)))
    if diverged:
        write_json(run / DIVERGED, {"told": diverged})
    return run
