"""What a decision of a planner costs: one robot, the best of 64 plans of 32 states by a critic, one thread.

    .venv/bin/python benchmarks/planner_latency.py           eagerly
    .venv/bin/python benchmarks/planner_latency.py onnx      as ONNX Runtime runs the same, after minutes of export

Hopper's sizes (state 11, action 3). Diffuser of 20 steps; Trajectory Diffuser, a draft and the last 3 of 20 steps; and
a mean flow of plans in one call; each with the perceptron of planners and with a transformer of two blocks, and
Diffuser with a U-Net. Classifier-free guidance, which Trajectory Diffuser's code has, doubles the rows of its steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from harness import Candidate, Report, Row, random_episodes
from torch import Tensor

from laminar.configs.compose import compose
from laminar.policies.planners import Planner
from laminar.policies.planners.fitting import new
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.fastest import disagreement

STATE, ACTION, HORIZON, PLANS = 11, 3, 32, 64
ROUNDS, SECONDS = 7, 0.5
DIFFUSER, GUIDED, TRAJECTORY, MEAN_FLOW = (
    "Diffuser, 20 steps",
    "Trajectory Diffuser, 3 of 20 steps, weight 1.2",
    "Trajectory Diffuser, 3 of 20 steps, weight 1",
    "mean flow, 1 call",
)
NETWORKS = {"perceptron": ["network=planner"], "transformer": ["network=transformer", "network.depth=2"]}
U_NET = "Diffuser, 20 steps, U-Net"
CACHED, WHOLE = "64 drafts, with a cache", "64 drafts, without"


def build(*words: str) -> Planner:
    """Return an untrained planner as the command line builds it: what it costs does not depend on its weights."""
    torch.manual_seed(0)
    sizes = [f"policy.horizon={HORIZON}", f"policy.candidates={PLANS}"]
    config = compose("train", ["method=planning", *words, *sizes])
    planner = new(config.policy, config.network, random_episodes(4_000, STATE, ACTION)).eval()
    planner.plans.return_range.copy_(torch.tensor([0.0, 100.0]))
    return planner


def planners(words: list[str]) -> dict[str, Planner]:
    """Return the planners of one network."""
    return {
        DIFFUSER: build("policy=diffuser", *words),
        GUIDED: build("policy=trajectory_diffuser", "policy.weight=1.2", *words),
        TRAJECTORY: build("policy=trajectory_diffuser", "policy.weight=1", *words),
        MEAN_FLOW: build("policy=meanflow_planner", *words),
    }


def deciding(policy: Any) -> Callable[[], Tensor]:
    """Return a function that decides once, from fresh noise."""
    seen = {"observation": torch.randn(1, 1, STATE, generator=torch.Generator().manual_seed(0))}
    generator = torch.Generator().manual_seed(1)

    @torch.inference_mode()
    def run() -> Tensor:
        return policy.sample(seen, generator=generator)

    return run


def drafting(planner: Planner, whole: bool, plans: int) -> Callable[[], Tensor]:
    """Return a function that writes so many drafts, by the cache or by the whole plan for each token."""
    drafter = planner.plans.drafter
    assert drafter is not None
    generator = torch.Generator().manual_seed(2)
    first = torch.randn(plans, drafter.token_dim, generator=generator)
    roll, cond = drafter.roll_plain if whole else drafter.roll, torch.zeros(plans, drafter.condition_dim)

    @torch.inference_mode()
    def run() -> Tensor:
        return roll(first, cond, HORIZON)

    return run


def eager(report: Report) -> None:
    """Compare the planners as PyTorch runs them, and what drafts cost."""
    for name, words in NETWORKS.items():
        made = planners(words)
        candidates = [Candidate(one, deciding(planner)) for one, planner in made.items()]
        if name == "transformer":
            candidates.append(Candidate(U_NET, deciding(build("policy=diffuser", "network=unet1d"))))
        rows = report.compare(f"a decision, {name}, {PLANS} plans of {HORIZON}", candidates, ROUNDS, SECONDS)
        claims(report, name, rows)
    trajectory = made[TRAJECTORY]
    drafts = [
        Candidate(WHOLE, drafting(trajectory, True, PLANS)),
        Candidate(CACHED, drafting(trajectory, False, PLANS)),
        Candidate("1 draft, which all plans of a decision share", drafting(trajectory, False, 1)),
    ]
    found = report.compare("drafts", drafts, ROUNDS, SECONDS)
    report.claim("drafts with a cache against without", ratio(found[CACHED]), least=7)


def exported(report: Report) -> None:
    """Compare the planners as ONNX Runtime runs them, with the eager one first."""
    for name, words in NETWORKS.items():
        candidates: list[Candidate] = []
        for one, planner in planners(words).items():
            fast = accelerate(planner, "onnx")
            gap = max(disagreement(fast, seed) for seed in range(2))
            print(f"{name}, {one}: built in {fast.build_seconds:.0f} s, differs from eager by {gap:.1e}", flush=True)
            candidates.append(Candidate(one, deciding(fast)))
        rows = report.compare(f"a decision by onnx, {name}, {PLANS} plans of {HORIZON}", candidates, ROUNDS, SECONDS)
        claims(report, f"{name}, onnx", rows)


def claims(report: Report, name: str, rows: dict[str, Row]) -> None:
    """Hold the planners of one network against what they are to reach; README.md says what falls short, and why."""
    for one in (GUIDED, TRAJECTORY):
        report.claim(f"{name}: {one}, against Diffuser", ratio(rows[one]), least=5)
        report.claim(f"{name}: {one}, milliseconds", cost(rows[one]), most=100)
    report.claim(f"{name}: {MEAN_FLOW}, milliseconds", cost(rows[MEAN_FLOW]), most=60)


def ratio(row: Row) -> float:
    """Return how many times faster than the reference, in CPU time."""
    assert row.cpu_ratio is not None
    return row.cpu_ratio[0]


def cost(row: Row) -> float:
    """Return milliseconds of CPU time."""
    assert row.cpu_median is not None
    return row.cpu_median


def main() -> None:
    torch.set_num_threads(1)
    by_onnx = "onnx" in sys.argv[1:]
    report = Report("planner_latency_onnx" if by_onnx else "planner_latency")
    (exported if by_onnx else eager)(report)
    report.finish()


if __name__ == "__main__":
    main()
