"""What acting online costs beside what it consists of: control steps of the bare environment, and calls of the policy.

An interaction steps a world of one slot by chunks of a one-call policy and returns rows of experience. Beside it, a
bare loop: the same episodes with the actions that were executed, and before each chunk a call of the policy with fresh
noise and an observation that lies ready. The parts of that loop alone cost less than together, as each leaves the
caches cold for the other; that is nothing an interaction could save.
"""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from harness import Report, random_episodes, spread
from harness import times as ratio_text
from torch import Tensor

from laminar.configs.compose import compose
from laminar.envs.make import make_env
from laminar.envs.playroom.demonstrations import collect
from laminar.envs.slots import Slots
from laminar.policies import GenerativePolicy
from laminar.policies.observations import Windows
from laminar.train.interaction import Interaction

ROUNDS, CHUNKS = 21, 60
COLUMNS = ("interaction", "bare loop", "its control steps alone", "its calls alone")


@dataclass(frozen=True)
class Task:
    """An environment, and how many actions of a chunk are executed in it."""

    env_id: str
    execute: int


TASKS = (
    Task("laminar/Playroom-v0?task=open_drawer", 8),
    Task("laminar/Playroom-v0?task=open_drawer", 1),
    Task("Hopper-v4", 4),
    Task("Hopper-v4", 1),
)


class Acting:
    """One task's interaction and its parts; each method does `CHUNKS` chunks and returns the CPU seconds of one."""

    def __init__(self, task: Task) -> None:
        self.execute, self.env = task.execute, make_env(task.env_id)
        episodes = collect(self.env, 1, 0) if "Playroom" in task.env_id else random_episodes(1000, 11, 3)
        config = compose("train", ["policy=meanflow", f"policy.chunk={task.execute}", f"policy.execute={task.execute}"])
        self.policy = GenerativePolicy.build(config.policy, config.network, episodes).eval()
        self.world = Slots(task.env_id, self.policy.spec, 1)
        self.seeds: list[int] = []
        self.actions: list[Any] = []
        self.interaction(record=True)

    @torch.no_grad()
    def decide(self, windows: Windows) -> Tensor:
        """Draw noise and ask the policy."""
        return self.policy.generate(windows, torch.randn(1, *self.policy.noise_shape, generator=self.generator))

    def interaction(self, record: bool = False) -> float:
        """Act in the world; `record` keeps seeds and actions of the episodes."""
        self.generator = torch.Generator().manual_seed(0)
        interaction = Interaction(self.world, 1, self.execute, 0)
        begin = time.process_time()
        for _ in range(CHUNKS):
            rows = interaction.step(self.decide)
            if record:
                self.actions.append(rows["action"][0, : int(rows["steps"])].numpy())
        took = time.process_time() - begin
        self.first = interaction._first
        return took / CHUNKS

    def bare(self, steps: bool = True, calls: bool = True) -> float:
        """Call the policy and execute the same actions in the environment, which begins the same episodes."""
        seed = self.first
        self.env.reset(seed=seed)
        windows = Windows(
            {key: torch.from_numpy(rows[:, None].copy()) for key, rows in self.world.observations.items()}
        )
        begin = time.process_time()
        for chunk in self.actions:
            if calls:
                self.decide(windows)
            for action in chunk if steps else ():
                _, _, terminated, truncated, _ = self.env.step(action)
                if terminated or truncated:
                    seed += 1
                    self.env.reset(seed=seed)
        return (time.process_time() - begin) / CHUNKS


def main() -> None:
    report = Report("interaction")
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        acting = Acting(task)
        gc.collect()
        gc.freeze()
        ways = (acting.interaction, acting.bare, partial(acting.bare, calls=False), partial(acting.bare, steps=False))
        times = np.array([[way() for way in ways] for _ in range(ROUNDS + 1)])[1:]
        name = f"{task.env_id.split('?')[0]}, {task.execute} a chunk"
        us = dict(zip(COLUMNS, (1e6 * np.median(times, axis=0)).tolist(), strict=True))
        rows.append({"name": name, **us, "ratio": spread(times[:, 0] / times[:, 1])})
    header = ["", *COLUMNS, "ratio [10-90 %]"]
    text = [[r["name"], *(f"{r[column]:.0f}" for column in COLUMNS), ratio_text(r["ratio"])] for r in rows]
    report.table("A chunk in an interaction and in a bare loop, CPU us", header, text, rows, load, {"rounds": ROUNDS})
    for row in rows:
        report.claim(f"{row['name']}: interaction over bare loop", row["ratio"][0], most=1.3)
    report.finish()


if __name__ == "__main__":
    main()
