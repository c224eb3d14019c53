"""How long a control loop waits for an action: `policy.sample` for one robot, eager, one thread.

Wall time is what a robot feels, and on a shared machine its tail is the scheduler's; the CPU time of the same calls
tells what the policy itself costs.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from harness import Report, random_episodes, sgemm

from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig

CALLS = 2_000
ROUNDS = 10
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Case:
    """A policy and the task it is sized for."""

    name: str
    process: str
    steps: int
    network: str = "mlp"
    widths: tuple[int, int] = (17, 6)  # observation, action: halfcheetah
    history: int = 1
    chunk: int = 1


CASES = [
    Case("mlp, meanflow, 1 call", "meanflow", 1),
    Case("mlp, flow, 10 calls", "flow", 10),
    Case("mlp, diffusion, DDIM 10 calls", "diffusion", 10),
    Case("unet1d, meanflow, 1 call", "meanflow", 1, "unet1d", (20, 7), history=2, chunk=16),
]


class Sampler:
    """One case, ready to be called: fixed observation, fresh noise from its own generator."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        process = PROCESSES.config_class(case.process)(steps=case.steps)
        config = PolicyConfig(process=process, history=case.history, chunk=case.chunk)
        network = NETWORKS.config_class(case.network)()
        self.policy = GenerativePolicy.build(config, network, random_episodes(2_000, *case.widths)).eval()
        self.observation = {"observation": torch.randn(1, case.history, case.widths[0])}
        self.generator = torch.Generator().manual_seed(0)
        self.parameters = sum(p.numel() for p in self.policy.parameters())

    def __call__(self) -> Any:
        return self.policy.sample(self.observation, generator=self.generator)


class Action(Sampler):
    """The whole way of a decision: `policy.act`, which also checks the observation and keeps history and chunk."""

    def __call__(self) -> Any:
        return self.policy.act({key: value[:, -1] for key, value in self.observation.items()})


def time_calls(call: Any, calls: int) -> np.ndarray:
    """(calls, 2) wall and CPU microseconds of each call."""
    times = np.empty((calls, 2))
    for index in range(calls):
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        call()
        times[index] = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
    return times / 1e3


def main() -> None:
    report = Report("sample_latency")
    samplers: dict[str, Any] = {case.name: Sampler(case) for case in CASES}
    samplers["mlp, meanflow, 1 call: policy.act"] = Action(CASES[0])
    fixed = sgemm()
    samplers[fixed.name] = fixed.run
    names, load = list(samplers), os.getloadavg()[0]
    times: dict[str, list[np.ndarray]] = {name: [] for name in names}
    with torch.inference_mode():
        for sampler in samplers.values():
            time_calls(sampler, 20)
        for turn in range(ROUNDS):
            for place in range(len(names)):
                name = names[(turn + place) % len(names)]
                times[name].append(time_calls(samplers[name], CALLS // ROUNDS))
    rows: list[dict[str, Any]] = []
    for name, parts in times.items():
        wall, cpu = np.concatenate(parts).T
        figures = {key: round(float(np.quantile(wall, q)), 1) for key, q in QUANTILES.items()}
        figures |= {f"cpu_{key}": round(float(np.quantile(cpu, q)), 1) for key, q in QUANTILES.items()}
        rows.append({"name": name, "parameters": getattr(samplers[name], "parameters", None), **figures})
    columns = [key for key in rows[0] if key not in ("name", "parameters")]
    header = ["microseconds a call, batch 1", "parameters", *(key.replace("_", " ") for key in columns)]
    text = [[row["name"], str(row["parameters"] or "-"), *(f"{row[key]:.0f}" for key in columns)] for row in rows]
    settings = {"unit": "microseconds", "calls": CALLS, "rounds": ROUNDS}
    report.table(f"policy.sample, {CALLS} calls each; wall, then CPU", header, text, rows, load, settings)
    report.finish()


if __name__ == "__main__":
    main()
