"""Imagined against simulated control steps: the playroom and a small world model of it, chunks of eight actions.

    .venv/bin/python benchmarks/imagination.py

The weights are untrained, which costs the same. A dream decodes and asks for success once a chunk, as in training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from harness import Candidate, Report

from laminar.envs.make import make_env
from laminar.envs.playroom.demonstrations import collect
from laminar.envs.slots import Slots
from laminar.envs.world import World
from laminar.world_models.config import WorldConfig
from laminar.world_models.imagination import Imagination
from laminar.world_models.model import WorldModel
from laminar.world_models.starts import starts
from laminar.world_models.success import Success, SuccessConfig

ENV = "laminar/Playroom-v0?task=open_drawer"
DREAMS, CHUNK = 256, 8
LONG = 10_000_000  # steps of a dream, so that none ends by itself while it is timed


def stepping(world: World) -> Callable[[], object]:
    """Return a function that executes one chunk in every slot, and begins anew where an episode ends."""
    world.reset({slot: slot for slot in range(world.slots)})
    random = np.random.default_rng(0)

    def step() -> None:
        chunks = random.uniform(-1, 1, (world.slots, CHUNK, world.spec.action_dim)).astype(np.float32)
        outcome = world.step(chunks)
        over = np.flatnonzero(outcome.ended).tolist()
        if over:
            world.reset({slot: slot for slot in over})

    return step


def main() -> None:
    report = Report("imagination")
    torch.manual_seed(0)
    episodes = collect(make_env(ENV), 4, 0)
    model = WorldModel.for_episodes(WorldConfig(), episodes).eval()
    begin = starts(model, episodes, 0, torch.Generator().manual_seed(0))
    success = Success(model.evidence_dim, SuccessConfig()).requires_grad_(False).eval()
    success.threshold.fill_(2.0)
    simulated = Slots(ENV, episodes.spec, 1)
    worlds: dict[str, World] = {"simulated": simulated}
    for name, compiled in (("imagined", False), ("imagined, compiled", True)):
        worlds[name] = Imagination(model, begin, success, DREAMS, LONG, compiled=compiled)
    candidates = [Candidate(name, stepping(world)) for name, world in worlds.items()]
    rows = report.compare(f"One chunk of {CHUNK}: 1 simulation, {DREAMS} dreams", candidates, seconds=0.5)
    for name in list(worlds)[1:]:
        ratio = rows[name].cpu_ratio
        assert ratio is not None
        report.claim(f"{name}: control steps per CPU second, times those simulated", DREAMS * ratio[0], least=8)
    simulated.close()
    report.finish()


if __name__ == "__main__":
    main()
