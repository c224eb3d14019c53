"""The report of one evaluation: eval.json, a Markdown page, and pictures of what the policy does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.load import Selection, load_episodes
from ...envs.make import control_rate
from ...envs.rendering import simulator
from ...envs.slots import Slots
from ...errors import LaminarError
from ...policies import Policy, load_policy
from ...policies.guided import guide
from ...policies.module import PolicyModule
from ...policies.out_of_range import SHOWN, Excursions
from ...policies.runtimes.accelerate import accelerate
from ...policies.runtimes.pace import resolve_steps
from ...policies.storage import read_object, rebuilding
from ..replay.run_record import held_out_lines
from ..results.result import Result, steps_text
from ..rollouts.lockstep import Lockstep
from . import plots

_SAMPLES = 24  # chunks, or rollouts, drawn as lines in a picture
_ACTIONS = 500  # single actions, drawn as a histogram


def write_report(
    folder: str | Path,
    result: Result,
    policy: PolicyModule | str | Path | None = None,
    video: str = "episodes.mp4",
    headline: Sequence[str] = (),
) -> Path:
    """Write `eval.json`, `report.md` and the pictures into a folder.

    Args:
        folder: made if missing; a video of that name already in it is linked.
        result: from `evaluate`.
        policy: draws its samples; given as the folder of a run, also its training curve and the returns of its data.
        video: file name.
        headline: lines of Markdown that come first on the page.

    Returns:
        Path of `report.md`.
    """
    folder = Path(folder)
    result.save(folder)
    pictures: dict[str, Path] = {}
    if policy is not None:
        loaded = policy if isinstance(policy, PolicyModule) else load_policy(policy)
        pictures |= _behavior(_as_measured(loaded, result), result, folder)
    data, remark = _data_returns(policy)
    about = data_lines(policy)
    pictures["Returns"] = plots.return_distribution(result, folder / "returns.png", data)
    pictures |= training_curve(folder, policy)
    page = folder / "report.md"
    lines = _page(result, pictures, folder / video, policy, headline)
    page.write_text("\n".join([*lines, *remark, *about, "- every episode: `eval.json`", ""]), encoding="utf-8")
    return page


def _as_measured(policy: PolicyModule, result: Result) -> Policy:
    """Return a policy that acts and samples as the one that was measured."""
    guided = guide(policy, result.acting)
    if result.steps is None:
        return guided
    return accelerate(guided, "eager", [_SAMPLES, _ACTIONS], resolve_steps(guided, result.steps))


def training_curve(folder: Path, policy: PolicyModule | str | Path | None) -> dict[str, Path]:
    """Draw the training curve of a policy that lies in a run; return its title and file, nothing for others."""
    file = _file_of_run(policy, "metrics.jsonl")
    if file is None:
        return {}
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]  # a kill can cut the last line
    rows = [json.loads(line) for line in lines]
    return {"Training": plots.training_curve(rows, folder / "training.png")} if rows else {}


def _file_of_run(policy: PolicyModule | str | Path | None, name: str) -> Path | None:
    """Return a file of the run that a policy's folder is, or lies in; None where there is none."""
    if not isinstance(policy, str | Path):
        return None
    start = Path(policy).absolute()
    places = (start, *list(start.parents)[:2])  # a run, or one of its checkpoints
    return next((place / name for place in places if (place / name).is_file()), None)


def _data_returns(policy: PolicyModule | str | Path | None) -> tuple[NDArray[Any] | None, list[str]]:
    """Return the returns (E,) of the data that a run was trained on, and a line that says what they are."""
    file = _file_of_run(policy, "run.json")
    if file is None:
        return None, []
    with rebuilding(file):
        data = read_object(file)["data"]
        settings = data["path"], Selection(data.get("observation"), filter=data.get("filter"))
    if data.get("instruction") or data.get("action"):
        return None, ["- returns of the training data: none, CALVIN's recordings have no rewards"]
    try:
        returns = load_episodes(*settings).returns()
    except LaminarError as error:
        return None, [f"- returns of the training data are not drawn: {error}"]
    if not returns.any():
        return None, ["- returns of the training data are not drawn: its rewards are all zero"]
    figures = f"{len(returns)} episodes, mean {returns.mean():.4g}, best {returns.max():.4g}"
    return returns, [f"- returns of the training data: {figures}"]


def data_lines(policy: PolicyModule | str | Path | None) -> list[str]:
    """Return what a run noted about its data when it started; nothing for a policy that lies in no run."""
    file = _file_of_run(policy, "run.json")
    if file is None:
        return []
    with rebuilding(file):
        record = read_object(file).get("record", {})
        lines = [f"- about the training data: {remark}" for remark in record.get("remarks", [])]
        lines += [f"- the training data look wrong: {problem}" for problem in record.get("problems", [])]
    return lines + held_out_lines(file.parent)


def _behavior(policy: Policy, result: Result, folder: Path) -> dict[str, Path]:
    """Draw what the policy may do from the first seed's start."""
    seed = result.episodes[0].seed
    world = Slots(result.env_id, policy.spec, 1)
    env = world.envs[0]
    try:
        chunks = _sample_chunks(policy, {key: rows[0] for key, rows in world.reset({0: seed}).items()})
        pictures = {"Sampled chunks": plots.action_chunks(chunks, control_rate(env), folder / "chunks.png")}
        maze = getattr(env.unwrapped, "maze", None)
    finally:
        world.close()
    if maze is not None:
        driven, goal = _drive(policy, result.env_id, seed)
        file = plots.maze_routes(maze.maze_map, maze.maze_size_scaling, driven, goal, folder / "routes.png")
        pictures = {"Routes": file} | pictures
    return pictures


@torch.inference_mode()
def _sample_chunks(policy: Policy, observation: Mapping[str, Any]) -> NDArray[Any]:
    """Return chunks (S, H, A) for one observation, which is also the whole history."""
    samples = _SAMPLES if policy.spec.chunk > 1 else _ACTIONS
    windows = {
        key: torch.as_tensor(np.asarray(observation[key], feature.dtype)).expand(
            samples, policy.spec.history, *feature.shape
        )
        for key, feature in policy.spec.observation.items()
    }
    shape, generator = policy.noise_shape, torch.Generator().manual_seed(0)
    noise = None if shape is None else torch.randn(samples, *shape, generator=generator)
    return policy.sample(windows, noise).cpu().numpy()


def _drive(policy: Policy, env_id: str, seed: int) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Return the paths (T, 2) of several rollouts from one start with different noise, and the goal (2,)."""
    lockstep = Lockstep(policy, env_id, _SAMPLES)
    try:
        driven: list[list[NDArray[Any]]] = [[] for _ in range(_SAMPLES)]
        owners = [simulator(env) for env in lockstep.world.envs]
        lockstep.start(dict.fromkeys(range(_SAMPLES), seed), {slot: slot for slot in range(_SAMPLES)})
        running = set(range(_SAMPLES))
        while running:
            for slot in running:
                driven[slot].append(owners[slot].data.qpos[:2].copy())
            moments = lockstep.step(running, lockstep.act())
            running -= {slot for slot, moment in moments.items() if moment.ended}
        for path, owner in zip(driven, owners, strict=True):
            path.append(owner.data.qpos[:2].copy())
        goal: Any = lockstep.world.envs[0].unwrapped
        return [np.array(path) for path in driven], np.asarray(goal.goal)
    finally:
        lockstep.close()


def _page(
    result: Result,
    pictures: dict[str, Path],
    video: Path,
    policy: PolicyModule | str | Path | None,
    headline: Sequence[str],
) -> list[str]:
    stored = result.to_json()
    figures = {
        "success rate": result.success_rate,
        "success at the last step": result.success_at_end,
        "normalized score": result.normalized_score,
        "return": result.mean_return,
    }
    lines = [f"# Evaluation in {result.env_id}", "", *headline]
    lines += [f"{len(result.episodes)} episodes, one a seed, {result.acting}; mean and 95 % interval.", ""]
    lines += ["| figure | mean | low | high |", "|---|---|---|---|"]
    lines += [f"| {name} | {x.cells} |" for name, x in figures.items() if x]
    lengths = [episode.length for episode in result.episodes]
    lines += ["", f"Episode length {min(lengths)} to {max(lengths)} steps, mean {np.mean(lengths):.4g}.", ""]
    for remark in result.remarks:
        lines += [f"Note: {remark}.", ""]
    lines += range_lines(result.out_of_range)
    lines += illustrations(pictures, video, "episodes")
    lines += provenance(policy, result.checkpoint, stored["gymnasium_id"], result.versions)
    lines += [f"- acting: {result.acting}", f"- runtime: {result.runtime}"]
    lines += [] if result.steps is None else [f"- steps: {steps_text(result.steps)}"]
    lines += [f"- simulator: {result.simulator}"] if result.simulator else []
    seeds = [episode.seed for episode in result.episodes]
    lines += [f"- seeds: {', '.join(map(str, seeds))}"]
    failed = [str(episode.seed) for episode in result.episodes if episode.success is False]
    if failed:
        lines += [f"- seeds without success: {', '.join(failed)}"]
    return lines


def range_lines(seen: Excursions | None) -> list[str]:
    """Return the lines that say how much of what the policy saw was unlike its training data."""
    if seen is None:
        return []
    lines = ["## Observations beside the training data", "", f"{str(seen)[0].upper()}{str(seen)[1:]}.", ""]
    if not seen.outside:
        return lines
    lines += ["| observation | dimension | share | furthest outside | lowest | highest |", "|---|---|---|---|---|---|"]
    for one in seen.dimensions[:SHOWN]:
        edges = f"{one.furthest:.4g} | {one.low:.6g} | {one.high:.6g}"
        lines.append(f"| {one.key} | {one.index} | {one.count / seen.observations:.2%} | {edges} |")
    return [*lines, ""]


def illustrations(pictures: Mapping[str, Path], video: Path, of: str) -> list[str]:
    """Return the lines that show pictures (title -> file), after the video of the first `of` if there is one."""
    lines = [f"[Video of the first {of}]({video.name})", ""] if video.is_file() else []
    for title, file in pictures.items():
        lines += [f"## {title}", "", f"![{title}]({file.name})", ""]
    return lines


def provenance(
    policy: PolicyModule | str | Path | None, checkpoint: str | None, environment: str, versions: Mapping[str, str]
) -> list[str]:
    """Return the lines that say what was measured, and in what."""
    lines = ["## What was measured", ""]
    lines += [f"- policy: `{policy}`"] if isinstance(policy, str | Path) else []
    lines += [f"- checkpoint: `{checkpoint}`", f"- environment: `{environment}`"]
    return [*lines, f"- versions: {', '.join(f'{name} {number}' for name, number in versions.items())}"]
