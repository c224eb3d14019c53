"""One update of offline Q-learning at HalfCheetah's size (observation 17, action 6), run in each way there is.

    .venv/bin/python benchmarks/q_step.py                         dql and ofql
    .venv/bin/python benchmarks/q_step.py fql iql rebrac td3bc    into results/q_step_fql_iql_rebrac_td3bc.json

An update has its draws, its batch, critic, actor, Adam and slow copies. The reference is 70 products of 256 x 256
matrices, about the arithmetic of a DQL update: who has another implementation measures it beside the same kernel.
Before anything is timed, every way must find the gradients that the eager one does, on the same draws.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch
from harness import Candidate, Report, random_episodes
from torch.profiler import ProfilerActivity, profile

from laminar.configs.compose import compose
from laminar.policies import GenerativePolicy
from laminar.train.config import RuntimeConfig
from laminar.train.improver import Context
from laminar.train.methods.q_learning import QLearning
from laminar.train.update.runners import matmul_precision, runner
from laminar.train.update.stacked import stacked

METHODS = ("dql", "ofql")
EAGER = "eager"
CPU: dict[str, tuple[str, dict[str, bool]]] = {  # precision of float32 products, and the runtime
    EAGER: ("highest", {}),
    "eager, medium": ("medium", {}),
    "compile": ("highest", {"compiled": True}),
    "compile, medium": ("medium", {"compiled": True}),
    "compile, bf16": ("medium", {"compiled": True, "autocast": True}),
}
CUDA: dict[str, dict[str, bool]] = {
    EAGER: {},
    "compile": {"compiled": True},
    "cuda_graph": {"captured": True},
    "cuda_graph, compile": {"captured": True, "compiled": True},
}
SEEDS = (4, 16)
BURST = 20  # updates between two waits for the device
FIRST = 2000  # number of the first timed update: the slow copies no longer follow at once
# Relative distance of the gradients from the eager ones. "medium" is bfloat16 inside on Intel's processors with AMX.
FLOAT32, BFLOAT16 = 1e-3, 0.2
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")

Update = Callable[[], object]


def build(method: str, device: str = "cpu", seed: int = 0, like: QLearning | None = None, **way: bool) -> QLearning:
    """Return an untrained learner with the method's own settings, on 200,000 steps of noise."""
    episodes = random_episodes(200_000, 17, 6)
    reward = np.random.default_rng(1).standard_normal(len(episodes)).astype(np.float32)
    episodes = replace(episodes, reward=reward)
    config = compose("train", [f"method={method}"])
    torch.manual_seed(seed)
    policy = GenerativePolicy.build(config.policy, config.network, episodes)
    generator = torch.Generator(device).manual_seed(seed)
    context = Context(1_000_000, generator, RuntimeConfig(device=device, **way), like=like)
    return QLearning(policy, episodes, config.method, context)


def gradients(learner: QLearning) -> dict[str, torch.Tensor]:
    """Copy Adam's first moments: after one update, the gradients."""
    return {name: value.clone() for name, value in learner.state().items() if name.endswith("_first")}


def distance(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Largest relative distance of two sets of vectors."""
    return max(float((mine[name] - value).norm() / value.norm()) for name, value in theirs.items())


def updates(learner: QLearning, precision: str) -> Update:
    """Return a function that takes the next update with this precision."""
    numbers = count(FIRST)

    def update() -> None:
        with matmul_precision(precision):
            learner.update(next(numbers))

    return update


def on_cpu(report: Report, method: str) -> None:
    """Check all ways against the eager one, then time them."""
    torch.compiler.reset()  # what other methods compiled would be looked through at every call
    candidates = [sgemms()]
    expected: dict[str, torch.Tensor] = {}
    rows: list[dict[str, Any]] = []
    for name, (precision, way) in CPU.items():
        learner = build(method, **way)
        begin, cpu = time.perf_counter(), time.process_time()
        with matmul_precision(precision):
            learner.update(0)
        first = (time.perf_counter() - begin, time.process_time() - cpu)
        expected = expected or gradients(learner)
        apart = distance(gradients(learner), expected)
        bound = BFLOAT16 if precision == "medium" else FLOAT32
        if name != EAGER:
            report.claim(f"{method}, {name}: relative distance of its gradients from the eager ones", apart, most=bound)
        rows.append({"name": name, "wall_s": first[0], "cpu_s": first[1], "distance": apart})
        candidates.append(Candidate(name, updates(learner, precision)))
    text = [[r["name"], f"{r['wall_s']:.1f}", f"{r['cpu_s']:.1f}", f"{r['distance']:.1e}"] for r in rows]
    header = ["", "wall s", "CPU s", "distance from eager"]
    report.table(f"{method}: first update, with compilation", header, text, rows, os.getloadavg()[0], {})
    size = learner.config.batch_size  # pyright: ignore[reportPossiblyUnboundVariable]  # CPU is not empty
    report.compare(f"{method}: one update, batch {size}; the ratio is to the kernel", candidates, seconds=0.6)


def sgemms() -> Candidate:
    """The arithmetic of about one DQL update: 70 x 256^3 in float32, at the highest precision."""
    a, b, out = (torch.ones(256, 256) for _ in range(3))

    def run() -> None:
        for _ in range(70):
            torch.mm(a, b, out=out)

    return Candidate("70 x sgemm 256^3", run)


def launches(update: Update) -> float:
    """Launches, copies and fills that the host asks the device for, per update."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        burst(update)
    return sum(event.count for event in trace.key_averages() if event.key.startswith(LAUNCHES)) / BURST


def burst(update: Update) -> None:
    """Take some updates and wait for the device."""
    for _ in range(BURST):
        update()
    torch.cuda.synchronize()


def together(method: str, seeds: int) -> Update:
    """Return a captured update of several seeds."""
    first = build(method, "cuda")
    replicas = [first, *(build(method, "cuda", seed, like=first) for seed in range(1, seeds))]
    program = stacked([replica.program for replica in replicas if replica.program is not None])
    run, numbers = runner(program, RuntimeConfig(device="cuda", captured=True)), count(FIRST)
    return lambda: run(next(numbers))


def on_cuda(report: Report, method: str) -> None:
    """Updates a second on a GPU, by each way and with several seeds, and what the host launches."""
    torch.compiler.reset()
    ways: dict[str, tuple[int, Update]] = {}
    for name, way in CUDA.items():
        ways[name] = (1, updates(build(method, "cuda", **way), "highest"))
    for seeds in SEEDS:
        ways[f"cuda_graph, {seeds} seeds"] = (seeds, together(method, seeds))
    candidates = [Candidate(name, lambda update=update: burst(update)) for name, (_, update) in ways.items()]
    title = f"{method} on {torch.cuda.get_device_name()}: {BURST} updates"
    timed = report.compare(title, candidates, seconds=0.5)
    rows: list[dict[str, Any]] = []
    for name, (seeds, update) in ways.items():
        rate = BURST * seeds / timed[name].wall_median * 1e3
        rows.append({"name": name, "seeds": seeds, "updates_per_s": rate, "launches": launches(update)})
    text = [[r["name"], f"{r['updates_per_s']:.0f}", f"{r['launches']:.1f}"] for r in rows]
    header = ["", "updates/s, all seeds", "launches"]
    report.table(f"{method}: throughput on {torch.cuda.get_device_name()}", header, text, rows, os.getloadavg()[0], {})
    if method == "ofql":
        rates = {row["name"]: row["updates_per_s"] for row in rows}
        report.claim("ofql: captured updates a second, one seed", rates["cuda_graph"], least=2000)
        gain = rates["cuda_graph, 16 seeds"] / rates["cuda_graph"]
        report.claim("ofql: throughput of 16 seeds over one", gain, least=8)


def main() -> None:
    methods = tuple(sys.argv[1:]) or METHODS
    report = Report("q_step" if methods == METHODS else "_".join(("q_step", *methods)))
    for method in methods:
        on_cpu(report, method)
        if torch.cuda.is_available():
            on_cuda(report, method)
    report.finish()


if __name__ == "__main__":
    main()
