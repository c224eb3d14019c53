r"""Every way to act by a critic at equal numbers of network calls: returns, spread, and what critics claim of it.

    python examples/guidance_table.py RUN OTHER_RUN ENV_ID OUT_FOLDER [--episodes 20] [--temperature 1] \
        [--budgets 1 4 16 64] [--workers 1]

RUN is acted with and guided by its own critic; the critic of OTHER_RUN, of the same task, judges without a say. Writes
guidance.json and guidance.md. What is done is not repeated, so that the script can be stopped and started again;
`--workers 2` measures two at a time. A process that cannot draw noise on its way has no particles and no tree, and the
table says so.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from laminar.data.load import load_episodes
from laminar.envs.d4rl import normalized_score
from laminar.errors import LaminarError
from laminar.eval.results.scores import bootstrap
from laminar.eval.rollouts.claims import Claims, Witness, measure_claims
from laminar.policies import load_policy
from laminar.policies.guided import Acting, claim, guide
from laminar.policies.module import PolicyModule
from laminar.train.methods.q_learning.rewards import tune

SAMPLERS: dict[str, dict[str, Any]] = {
    "softmax of N": {},
    "best of N": {"selection": "argmax"},
    "gradient, softmax of N": {"guidance": "gradient"},
    "gradient, best of N": {"guidance": "gradient", "selection": "argmax"},
    "exact gradient, best of N": {"guidance": "gradient", "jacobian": "exact", "selection": "argmax"},
    "particles": {"guidance": "fk"},
    "tree": {"guidance": "tree"},
    "tree, searched": {"guidance": "tree", "selection": "argmax"},
}
STATES, DRAWS = 32, 16  # of the spread: places on the way of plain samples, and chunks at each of them


@dataclass(frozen=True)
class Setting:
    """What is measured, and how."""

    run: str
    other: str
    env_id: str
    out: str
    episodes: int
    temperature: float
    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One sampler with a budget, in plain samples."""

    sampler: str
    budget: int

    @property
    def file(self) -> str:
        return f"{self.sampler.replace(', ', '_').replace(' ', '_')}_{self.budget}.json"

    def acting(self, temperature: float) -> Acting:
        return Acting(self.budget, temperature=temperature, **SAMPLERS[self.sampler])


def main(setting: Setting, budgets: Sequence[int], workers: int) -> None:
    """Measure what is missing and write the table."""
    cells = Path(setting.out, "cells")
    cells.mkdir(parents=True, exist_ok=True)
    todo = [Cell(sampler, budget) for budget in budgets for sampler in SAMPLERS if _differs(sampler, budget)]
    plain = [cell for cell in todo if cell.budget == 1 and cell.sampler == "softmax of N"]
    for cell in plain or [Cell("softmax of N", 1)]:  # first: it leaves the states at which spreads are measured
        measure(setting, cell)
    rest = [cell for cell in todo if cell not in plain]
    if workers == 1:
        for cell in rest:
            measure(setting, cell)
    else:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(measure, [setting] * len(rest), rest))
    write(setting, [json.loads((cells / cell.file).read_text()) for cell in todo])


def _differs(sampler: str, budget: int) -> bool:
    """Whether a sampler with a single sample is another one than the plain sample."""
    return budget > 1 or sampler in ("softmax of N", "gradient, softmax of N", "exact gradient, best of N")


def measure(setting: Setting, cell: Cell) -> None:
    """Measure one cell, unless it is done."""
    file = Path(setting.out, "cells", cell.file)
    if file.exists():
        return
    torch.set_num_threads(1)
    found: dict[str, Any] = {"sampler": cell.sampler, "budget": cell.budget}
    try:
        acting = cell.acting(setting.temperature)
        found |= {"acting": acting.to_json()} | _measured(
            setting, guide(load_policy(setting.run), acting), acting.plain
        )
    except LaminarError as error:
        found["missing"] = str(error)
    file.with_suffix(".part").write_text(json.dumps(found, indent=1))
    file.with_suffix(".part").rename(file)
    print(line(found), flush=True)


def _measured(setting: Setting, policy: PolicyModule, plain: bool) -> dict[str, Any]:
    states = Path(setting.out, "states.npz")
    begin, visited = time.perf_counter(), list[dict[str, Tensor]]()
    witnesses = [witness(setting.run, visited if plain else None), witness(setting.other)]
    seeds = range(setting.seed, setting.seed + setting.episodes)
    claims = measure_claims(policy, setting.env_id, seeds, witnesses)
    if plain:
        keep = np.linspace(0, len(visited) - 1, STATES).astype(int)
        chosen = {key: torch.cat([visited[index][key][:1] for index in keep]).numpy() for key in visited[0]}
        np.savez(states, **chosen)
    returns = claims.returns
    scores = normalized_score(setting.env_id, returns.tolist())
    return {
        "network_calls": policy.calls().evaluations,
        "return": bootstrap(returns).to_json(),
        "normalized_score": None if scores is None else bootstrap(scores).to_json(),
        "spread": spread(policy, states),
        "own": against(claims, 0),
        "other": against(claims, 1),
        "seconds": round(time.perf_counter() - begin, 1),
        "returns": returns.tolist(),
    }


def against(claims: Claims, index: int) -> dict[str, Any]:
    """Mean claim of a critic, mean of what came, and their difference over episodes, in the critic's own units."""
    said, came = claims.of(index)
    if not len(said):
        return {"said": None, "came": None, "excess": None}
    return {"said": said.mean(), "came": came.mean(), "excess": bootstrap(said - came).to_json()}


def witness(run: str, visited: list[dict[str, Tensor]] | None = None) -> Witness:
    """Return the critic of a run with the discount and the rewards that it was trained on; keep what it was shown."""
    policy = load_policy(run)
    method = json.loads(Path(run, "run.json").read_text())["method"]
    scale, shift = tuning(run, method["reward"])

    def value(windows: Mapping[str, Tensor], chunks: Tensor) -> Tensor:
        if visited is not None:
            visited.append(dict(windows))
        return claim(policy, windows, chunks)

    return Witness(value, method["discount"], scale, shift)


def tuning(run: str, name: str) -> tuple[float, float]:
    """Return scale and shift of the rewards in training, from the data where they depend on them."""
    if name == "none":
        return 1.0, 0.0
    episodes = load_episodes(json.loads(Path(run, "run.json").read_text())["data"]["path"])
    raw, tuned = episodes.reward.astype(float), tune(name, episodes).astype(float)
    low, high = raw.argmin(), raw.argmax()
    scale = (tuned[high] - tuned[low]) / (raw[high] - raw[low])
    return float(scale), float(tuned[low] - scale * raw[low])


def spread(policy: PolicyModule, states: Path) -> float:
    """Deviation of the actions at the same states, in normalized units: root mean square over states and actions."""
    with np.load(states, allow_pickle=False) as stored, torch.inference_mode():
        windows = {key: torch.from_numpy(stored[key]).repeat_interleave(DRAWS, dim=0) for key in stored.files}
        chunks = policy.sample(windows, generator=torch.Generator().manual_seed(0)) / policy.action_scale
        return float(chunks.unflatten(0, (-1, DRAWS)).var(dim=1).mean().sqrt())


def write(setting: Setting, cells: list[dict[str, Any]]) -> None:
    """Write all figures as JSON, and the table."""
    about = {name: getattr(setting, name) for name in ("run", "other", "env_id", "episodes", "temperature", "seed")}
    Path(setting.out, "guidance.json").write_text(json.dumps(about | {"cells": cells}, indent=1))
    title = f"{setting.run} in {setting.env_id}, {setting.episodes} episodes, temperature {setting.temperature:g}; "
    head = ["sampler", "samples", "network calls", "return", "spread", "own critic: claim, excess", "other critic"]
    lines = [title + f"the other critic is of {setting.other}.", "", row(head), row(["---"] * len(head))]
    Path(setting.out, "guidance.md").write_text("\n".join([*lines, *map(line, cells), ""]))


def line(cell: dict[str, Any]) -> str:
    """One line of the table."""
    start = [cell["sampler"], str(cell["budget"])]
    if "missing" in cell:
        return row([*start, f"not measured: {cell['missing']}", *["–"] * 4])
    figure = cell["normalized_score"] or cell["return"]
    told = [figures(figure), f"{cell['spread']:.3f}"]
    for critic in (cell["own"], cell["other"]):
        told.append("–" if critic["said"] is None else f"{critic['said']:.1f}, {figures(critic['excess'], '+')}")
    return row([*start, str(cell["network_calls"]), *told])


def figures(found: dict[str, Any], sign: str = "") -> str:
    """Return a mean with its interval, where there is one."""
    mean = f"{found['mean']:{sign}.1f}"
    return mean if found["low"] is None else f"{mean} [{found['low']:{sign}.1f}, {found['high']:{sign}.1f}]"


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "other", "env_id", "out"):
        parser.add_argument(name)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--budgets", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    names = ("run", "other", "env_id", "out", "episodes", "temperature")
    main(Setting(*(getattr(given, name) for name in names)), given.budgets, given.workers)
