"""One update of denoising PPO (`method=dppo`): eager, compiled, and compiled with products in bfloat16, in one run.

    .venv/bin/python benchmarks/policy_gradient_update.py         1280 denoising steps an update
    .venv/bin/python benchmarks/policy_gradient_update.py 320     into results/policy_gradient_update_320.json

A diffusion of ten steps, three layers of 256, chunks of eight actions of the playroom, four of them executed; policy
and value function learn. Before anything is timed, the compiled update must find the losses of the eager one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from itertools import count
from typing import Any

import torch
from harness import Candidate, Report

from laminar.configs.compose import compose
from laminar.envs.make import make_env
from laminar.envs.playroom.demonstrations import collect
from laminar.envs.slots import Slots
from laminar.policies import GenerativePolicy
from laminar.train.config import RuntimeConfig
from laminar.train.improver import Context
from laminar.train.methods.policy_gradient import PolicyGradient
from laminar.train.update.runners import matmul_precision

ENV = "laminar/Playroom-v0?task=close_drawer"
SLOTS, CHUNKS, STEPS = 4, 32, 10  # environments, chunks of each in an iteration, denoising steps
CHECKED = 3  # compared updates
WAYS: dict[str, tuple[str, dict[str, bool]]] = {  # precision of float32 products, and the runtime
    "eager": ("highest", {}),
    "compile": ("highest", {"compiled": True}),
    "compile, medium": ("medium", {"compiled": True}),
    "compile, bf16": ("medium", {"compiled": True, "autocast": True}),
}


def build(policy: GenerativePolicy, entries: int, **way: bool) -> PolicyGradient:
    """Return a learner of the method's own settings, which has acted one iteration, the same in all of them."""
    batches = SLOTS * CHUNKS * STEPS // entries
    words = ["method=dppo", f"method.chunks={CHUNKS}", f"method.minibatches={batches}", "method.value_warm_up=0"]
    torch.manual_seed(0)
    world = Slots(ENV, policy.spec, SLOTS)
    context = Context(100_000, torch.Generator().manual_seed(0), RuntimeConfig(**way), init="a clone", world=world)
    learner = PolicyGradient(deepcopy(policy), None, compose("train", words).method, context)
    learner.collect(0)
    world.close()
    return learner


def updates(learner: PolicyGradient, precision: str) -> Callable[[], Any]:
    """Return a function that takes the next update with this precision, of the one iteration again and again."""
    numbers, program = count(), learner.program
    assert program is not None

    def update() -> Any:
        number = next(numbers)
        program.state["cursor"].fill_(number % (learner.config.epochs * learner.config.minibatches))
        with matmul_precision(precision):
            return learner.update(number)

    return update


def difference(policy: GenerativePolicy, entries: int) -> float:
    """Return the largest relative difference between the losses of both in some updates."""
    eager, fused = (updates(build(policy, entries, **WAYS[way][1]), "highest") for way in ("eager", "compile"))
    worst = 0.0
    for _ in range(CHECKED):
        mine, theirs = eager(), fused()
        for name in ("loss", "value_loss", "tuned_grad_norm"):
            apart = abs(float(mine[name]) - float(theirs[name]))
            worst = max(worst, apart / max(abs(float(mine[name])), 0.01))
    return worst


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else SLOTS * CHUNKS * STEPS
    report = Report("policy_gradient_update" if len(sys.argv) < 2 else f"policy_gradient_update_{entries}")
    words = ["policy=diffusion", f"policy.process.steps={STEPS}", "policy.chunk=8", "policy.execute=4"]
    config = compose("train", words)
    torch.manual_seed(0)
    policy = GenerativePolicy.build(config.policy, config.network, collect(make_env(ENV), 1, 0)).eval()
    apart = difference(policy, entries)
    report.claim(f"relative difference of the losses in {CHECKED} updates", apart, most=1e-2)
    candidates: list[Candidate] = []
    rows: list[dict[str, Any]] = []
    for name, (precision, way) in WAYS.items():
        update = updates(build(policy, entries, **way), precision)
        begin, cpu = time.perf_counter(), time.process_time()
        update()
        rows.append({"name": name, "wall_s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu})
        candidates.append(Candidate(name, update))
    text = [[r["name"], f"{r['wall_s']:.1f}", f"{r['cpu_s']:.1f}"] for r in rows]
    report.table("First update, with compilation", ["", "wall s", "CPU s"], text, rows, os.getloadavg()[0], {})
    timed = report.compare(f"One update of {entries} denoising steps", candidates, seconds=0.5)
    for name in ("compile, medium", "compile, bf16"):
        ratio = timed[name].cpu_ratio
        assert ratio is not None
        report.claim(f"{name}: times faster than eager", ratio[0], least=2)
    report.finish()


if __name__ == "__main__":
    main()
