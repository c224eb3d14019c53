"""How long a decision from two cameras takes: `onnx` against eager, one robot, one thread.

Two pictures of 96 x 96 and a state of 15 numbers, a mean flow of one call; and the share of the pictures in an update
of training, for each backbone.

    python benchmarks/picture_latency.py             decisions
    python benchmarks/picture_latency.py updates     updates of batch 64 at 64 and 84 pixels, history 1 and 2
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from harness import Candidate, Report, times

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.backbones import EncoderConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.fastest import disagreement

BATCH = 64


def pictured(side: int, rows: int = 100) -> Episodes:
    """One episode of random pictures of two cameras, and a state."""
    rng = np.random.default_rng(0)
    seen: dict[str, Any] = {
        key: rng.integers(0, 256, (rows, side, side, 3), dtype=np.uint8) for key in ("rgb_static", "rgb_gripper")
    }
    seen["robot_obs"] = rng.normal(size=(rows, 15)).astype(np.float32)
    zeros = np.zeros(rows, bool)
    features = {key: Feature(value.shape[1:], str(value.dtype)) for key, value in seen.items()}
    return Episodes(
        observation=seen,
        final_observation={key: value[-1:] for key, value in seen.items()},
        action=rng.uniform(-1, 1, (rows, 7)).astype(np.float32),
        reward=np.zeros(rows, np.float32),
        terminated=zeros,
        truncated=zeros,
        ends=np.array([rows]),
        spec=Spec(features, Feature((7,)), (-1.0,) * 7, (1.0,) * 7),
    )


def policy_of(kind: str, side: int, history: int = 1) -> GenerativePolicy:
    """Build an untrained mean flow that sees two cameras."""
    torch.manual_seed(0)
    config = PolicyConfig(history=history, chunk=8, encoder=EncoderConfig(kind=kind))
    return GenerativePolicy.build(config, MLPConfig(), pictured(side))


def decisions(report: Report, kind: str, faster: float | None) -> None:
    """Compare one decision of the runtimes."""
    policy = policy_of(kind, 96).eval()
    fast = accelerate(policy, "onnx")
    gap = max(disagreement(fast, seed) for seed in range(3))
    print(f"{kind}: onnx built in {fast.build_seconds:.1f} s, differs from eager by {gap:.1e}")
    seen = {key: value[:1] for key, value in pictured(96).observation.items()}
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        eager = Candidate("eager", lambda: policy.sample(seen, generator=generator))
        rows = report.compare(
            f"{kind}, two cameras of 96 x 96", [eager, Candidate("onnx", lambda: fast(seen, generator=generator))]
        )
    ratio = rows["onnx"].cpu_ratio
    assert ratio is not None
    if faster is not None:
        report.claim(f"{kind}: onnx against eager, {times(ratio)}", ratio[0], least=faster)


def updates(report: Report, side: int, history: int) -> None:
    """Compare the gradient of one loss for each backbone."""
    candidates: list[Candidate] = []
    for kind in ("small", "tiny", "resnet18", "vit_small"):
        policy = policy_of(kind, side, history).train()
        seen = {
            key: torch.from_numpy(np.stack([value[i : i + history] for i in range(BATCH)]))
            for key, value in pictured(side).observation.items()
        }
        batch = {"observation": seen, "action": torch.rand(BATCH, 8, 7)}
        candidates.append(Candidate(kind, _gradient(policy, batch)))
    report.compare(f"gradient, batch {BATCH}, two cameras of {side} x {side}, history {history}", candidates, 3)


def _gradient(policy: GenerativePolicy, batch: dict[str, Any]) -> Any:
    generator, weights = torch.Generator().manual_seed(0), list(policy.parameters())

    def run() -> None:
        torch.autograd.grad(policy.loss(batch, generator)[0], weights, allow_unused=True)

    return run


def main() -> None:
    torch.set_num_threads(1)
    report = Report("picture_updates" if "updates" in sys.argv[1:] else "picture_latency")
    if "updates" in sys.argv[1:]:
        for side in (64, 84):
            for history in (1, 2):
                updates(report, side, history)
    else:
        for kind, faster in (("resnet18", 2.0), ("small", None), ("tiny", None)):
            decisions(report, kind, faster)
    report.finish()


if __name__ == "__main__":
    main()
