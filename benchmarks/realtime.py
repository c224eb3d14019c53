"""Accelerated sampling against eager `policy.sample`, and against the usual loop over a `diffusers` scheduler.

The usual loop is written here: one network call a step with everything in it, a scheduler object between the calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
import usual_unet
from harness import Candidate, Report, random_episodes, times
from sample_latency import QUANTILES, time_calls

from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.guided import Acting, Guided, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.accelerated import unavailable
from laminar.policies.runtimes.fastest import disagreement

CALLS = 10_000
MLP = {"activation": "mish"}  # DQL's network


@dataclass(frozen=True)
class Case:
    """A policy, and how many times faster than eager its best runtime has to be (CPU, batch 1)."""

    name: str
    process: str
    steps: int
    faster: float
    network: str = "mlp"
    settings: dict[str, Any] = field(default_factory=lambda: MLP)
    schedule: dict[str, Any] = field(default_factory=dict)
    widths: tuple[int, int] = (17, 6)  # observation, action
    history: int = 1
    chunk: int = 1
    candidates: int = 1

    def build(self, device: str) -> PolicyModule:
        torch.manual_seed(0)
        process = PROCESSES.config_class(self.process)(steps=self.steps, **self.schedule)
        config = PolicyConfig(process=process, history=self.history, chunk=self.chunk)
        network = NETWORKS.config_class(self.network)(**self.settings)
        clone = GenerativePolicy.build(config, network, random_episodes(2_000, *self.widths))
        policy: PolicyModule = clone.eval()
        if self.candidates > 1:
            policy = Guided(clone, new_critic(clone, CriticConfig()), Acting(self.candidates)).eval()
        with torch.no_grad():
            for weight in policy.parameters():  # as it is built, a transformer says zero
                weight.add_(0.02 * torch.randn(weight.shape))
        return policy.to(device)


DQL = {"schedule": "vp", "levels": 5}
CHUNKS: dict[str, Any] = {"widths": (20, 7), "history": 2, "chunk": 16}
CASES = [
    Case("mlp, mean flow, 1 call", "meanflow", 1, 2),
    Case("mlp, diffusion, 5 calls", "diffusion", 5, 3, schedule=DQL),
    Case("mlp, diffusion, 5 calls, 50 candidates", "diffusion", 5, 1.7, schedule=DQL, candidates=50),
    Case("unet1d 64-128-256, DDIM 10 calls", "diffusion", 10, 1.7, "unet1d", {"activation": "mish"}, **CHUNKS),
    Case("unet1d 64-128-256, mean flow, 1 call", "meanflow", 1, 1.7, "unet1d", {}, **CHUNKS),
    Case("transformer, flow, 10 calls", "flow", 10, 1, "transformer", {}, **CHUNKS),
]
LARGE = {"widths": [256, 512, 1024], "activation": "mish"}
GPU_CASES = [*CASES, Case("unet1d 256-512-1024, DDIM 10 calls", "diffusion", 10, 10, "unet1d", LARGE, **CHUNKS)]


def compare(report: Report, case: Case, device: str) -> None:
    """Time all runtimes that are here against eager, on the same observation with fresh noise in each call."""
    policy = case.build(device)
    names = ("cuda_graph", "compiled_cuda_graph") if device == "cuda" else ("onnx", "pt2")
    obs = torch.randn(1, case.history, case.widths[0]).numpy()
    generator = torch.Generator(device).manual_seed(0)
    candidates = [Candidate("eager", _finished(lambda: policy.sample(obs, generator=generator), device))]
    built: dict[str, Any] = {}
    for name in names:
        reason = unavailable(name, policy)
        if reason is not None:
            print(f"{case.name}: no {name}, {reason}")
            continue
        fast = built[name] = accelerate(policy, name)
        gap = max(disagreement(fast, seed) for seed in range(5))
        print(f"{case.name}: {name} built in {fast.build_seconds:.1f} s, differs from eager by {gap:.1e}")
        candidates.append(Candidate(name, _finished(partial(fast, obs, generator=generator), device)))
    if usual_unet.missing() is None and case.network == "unet1d" and case.steps == 10:
        small = "widths" not in case.settings
        usual = usual_unet.Sampler((64, 128, 256) if small else (256, 512, 1024), device)
        candidates.append(Candidate(usual_unet.NAME, _finished(lambda: usual(obs), device)))
    rows = report.compare(f"{case.name} ({device})", candidates)
    rate = [row.wall_ratio if device == "cuda" else row.cpu_ratio for name, row in rows.items() if name in built]
    best = max((ratio for ratio in rate if ratio is not None), default=(0.0, 0.0, 0.0))
    report.claim(f"{case.name}: best runtime against eager, {times(best)}", best[0], least=case.faster)
    if usual_unet.NAME in rows and device == "cpu":
        slow = rows[usual_unet.NAME].cpu_median
        quick = min(row.cpu_median for name, row in rows.items() if name in built and row.cpu_median)
        report.claim(f"{case.name}: best runtime against {usual_unet.NAME}", (slow or 0) / quick, least=2.5)


def _finished(run: Callable[[], object], device: str) -> Callable[[], object]:
    """Without a tape, and on a GPU until the chunk is there."""

    @torch.inference_mode()
    def call() -> None:
        run()
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def latency(report: Report, case: Case, device: str, bounds: dict[str, float]) -> None:
    """Distribution of the wall time of one call, host observation to host chunk."""
    fast = accelerate(case.build(device), "cuda_graph" if device == "cuda" else "auto")
    obs = torch.randn(1, case.history, case.widths[0]).numpy()
    load = os.getloadavg()[0]
    time_calls(lambda: fast.infer(obs), 200)
    wall, cpu = time_calls(lambda: fast.infer(obs), CALLS).T
    figures = {key: round(float(np.quantile(wall, q)), 1) for key, q in QUANTILES.items()}
    figures |= {f"cpu_{key}": round(float(np.quantile(cpu, q)), 1) for key, q in QUANTILES.items()}
    rows = [{"name": case.name, "runtime": fast.runtime, **figures}]
    text = [[case.name, fast.runtime, *(f"{value:.0f}" for value in figures.values())]]
    header = ["microseconds a call", "runtime", *(key.replace("_", " ") for key in figures)]
    report.table(f"{case.name}: {CALLS} calls, host to host ({device})", header, text, rows, load, {"calls": CALLS})
    for key, most in bounds.items():
        report.claim(f"{case.name} ({device}), {fast.runtime}: {key} in microseconds", figures[key], most=most)


def main() -> None:
    report = Report("realtime")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for case in GPU_CASES if device == "cuda" else CASES:
        compare(report, case, device)
    latency(report, CASES[0], device, {"p50": 60.0})
    latency(report, CASES[4], device, {"p99": 5_000.0})
    report.finish()


if __name__ == "__main__":
    main()
