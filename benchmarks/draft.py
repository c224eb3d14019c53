"""Plans written token by token, with the cache of keys and values and without: 64 plans of 32 tokens, on one thread.

    .venv/bin/python benchmarks/draft.py

The generator of Trajectory Diffuser as `DraftConfig` has it, on tokens of a hopper's state and return. Before anything
is timed, both ways must write the same plans.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from harness import Candidate, Report
from torch import Tensor

from laminar.policies.planners.draft import DraftConfig, Drafter

PLANS, LENGTH, TOKEN, CONDITION = 64, 32, 12, 1
WITHOUT, WITH, ONE = "without a cache", "with a cache", "with a cache, one plan"


def build() -> Drafter:
    """Return a generator whose plans move: as it is built, they stand still."""
    torch.manual_seed(0)
    drafter = Drafter(DraftConfig(), TOKEN, CONDITION, LENGTH).eval()
    torch.nn.init.normal_(drafter.head.weight, std=0.02)
    return drafter


def untaped(roll: Callable[[Tensor, Tensor, int], Tensor], plans: int) -> Callable[[], Tensor]:
    """Return a function that writes so many plans."""
    generator = torch.Generator().manual_seed(1)
    first, cond = torch.randn(plans, TOKEN, generator=generator), torch.randn(plans, CONDITION, generator=generator)

    @torch.inference_mode()
    def write() -> Tensor:
        return roll(first, cond, LENGTH)

    return write


def main() -> None:
    report, drafter = Report("draft"), build()
    plain, cached = untaped(drafter.roll_plain, PLANS), untaped(drafter.roll, PLANS)
    gap = float((plain() - cached()).abs().max() / plain().abs().max())
    candidates = [Candidate(WITHOUT, plain), Candidate(WITH, cached), Candidate(ONE, untaped(drafter.roll, 1))]
    rows = report.compare(f"{PLANS} plans of {LENGTH} tokens", candidates, seconds=0.4)
    cost, ratio = rows[WITH].cpu_median, rows[WITH].cpu_ratio
    assert cost is not None
    assert ratio is not None
    report.claim("largest difference between both, over the largest number of a plan", gap, most=1e-6)
    report.claim("with a cache against without", ratio[0], least=7)
    report.claim(f"milliseconds for {PLANS} plans, with a cache", cost, most=40)
    report.finish()


if __name__ == "__main__":
    main()
