"""A world with a known optimum, which every objective finds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from laminar.data.batches import Chunks
from laminar.policies import PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.train.improver import Context
from laminar.train.methods.policy_gradient import Config, PolicyGradient

_SPEC = importlib.util.spec_from_file_location("two_states", Path(__file__).with_name("two_states.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
two_states = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(two_states)

ITERATIONS = 40
CLIPPED = {"objective": "matching", "trust": "clip", "clip": 0.2, "leash": 0.01}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "denoising": ("diffusion", {"steps": 3}, {}),
    "denoising, posterior": ("diffusion", {"steps": 3, "solver": "ddpm"}, {}),
    "denoising, last step": ("flow", {"steps": 3}, {"tuned_steps": 1}),
    "denoising, backwards": ("flow", {"steps": 3}, {"progressive": 0.5}),
    "noise head, one call": ("meanflow", {}, {"objective": "noise_head", "entropy": 0.01}),
    "noise head": ("flow", {"steps": 3}, {"objective": "noise_head"}),
    "matching": ("flow", {"steps": 3}, {"objective": "matching", "clip": 0.2, "lr": 1e-3}),
    "matching, clipped": ("diffusion", {"steps": 3}, CLIPPED),
    "pmpo": ("flow", {"steps": 3}, {"objective": "pmpo", "leash": 0.01}),
    "pmpo, one call": ("meanflow", {}, {"objective": "pmpo", "leash": 0.01}),
}


def clone(process: str, settings: dict[str, Any]) -> GenerativePolicy:
    """Return a policy that does anything in either state."""
    torch.manual_seed(0)
    episodes = two_states.recorded()
    chosen = PROCESSES.config_class(process)(**settings)
    config = PolicyConfig(process=chosen, chunk=2, observation_normalizer="identity")
    policy = GenerativePolicy.build(config, MLPConfig(width=32, depth=2), episodes)
    optimizer, chunks = torch.optim.Adam(policy.parameters(), lr=3e-3), Chunks(episodes, 1, 2, short_episodes="pad")
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        loss, _ = policy.loss(chunks.sample(64, generator), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy.eval()


def right(policy: Any) -> list[float]:
    """Return in how many of 400 chunks each the first action is the best one, in A and in B."""
    generator = torch.Generator().manual_seed(7)
    found = policy.sample(torch.eye(2).repeat_interleave(400, dim=0), generator=generator)[:, 0, 0].detach()
    return [(found[:400] > 0).float().mean().item(), (found[400:] < 0).float().mean().item()]


# what differs from a case beside it by one setting alone waits for the slow tests
TWINS = ("denoising, posterior", "denoising, last step", "matching, clipped", "pmpo, one call")


@pytest.mark.parametrize("case", [pytest.param(one, marks=[pytest.mark.slow] * (one in TWINS)) for one in CASES])
def test_every_objective_finds_the_optimum(case: str) -> None:
    process, settings, method = CASES[case]
    config = Config(
        value=CriticConfig(width=32, depth=2, heads=1), chunks=16, epochs=4, minibatches=2, discount=0.9,
        **{"lr": 3e-3, "clip": 0.1, "clip_first": 0.1, "min_std": 0.2} | method,
    )  # fmt: skip
    policy = clone(process, settings)
    before = right(policy)
    assert max(before) < 0.75, "the clone does not know"
    steps = PolicyGradient.updates(config, ITERATIONS * 16 * 16, 16, 1)
    assert steps is not None
    context = Context(steps, torch.Generator().manual_seed(0), init="a clone", world=two_states.TwoStates(16))
    improver = PolicyGradient(policy, None, config, context)
    for step in range(steps):
        improver.collect(step)
        improver.update(step)
    after = right(improver.product())
    assert min(after) > 0.95, (before, after, improver.figures())
