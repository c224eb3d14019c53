"""A base whose last denoising steps a tuned network takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.edited import Edited, new_editor
from laminar.policies.export.exported import Exported
from laminar.policies.export.write import export
from laminar.policies.fine_tuned import FineTuned, restore
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, Guided, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.policies.networks.noise_head import NoiseHead, NoiseHeadConfig
from laminar.policies.runtimes import onnx as onnx_runtime
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.agreement import TOLERANCE
from laminar.policies.runtimes.fastest import disagreement
from laminar.policies.steered import Steered, new_actor

Make = Callable[..., GenerativePolicy]
SMALL = NoiseActorConfig(width=8, depth=1)
ONNX = pytest.mark.skipif(
    onnx_runtime.missing(torch.device("cpu")) is not None, reason="laminar[export] is not installed"
)
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("diffusion", {"solver": "ddim", "steps": 4}),
    ("diffusion", {"solver": "ddpm", "steps": 4}),
    ("flow", {"steps": 4}),
    ("meanflow", {"steps": 4}),
    ("ctm", {"steps": 4}),
]
each_kind = pytest.mark.parametrize(("process", "settings"), KINDS)


def tuned(base: GenerativePolicy, steps: int = 2, scale: float = 0.1) -> FineTuned:
    """Return a policy whose tuned network has other weights than the base's."""
    made = restore({"tuned_steps": steps}, base.spec, base)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in made.network.parameters():
            weight += scale * torch.randn(weight.shape, generator=generator)
    return made.eval()


def based(make_policy: Make, process: str = "flow", settings: dict[str, Any] | None = None) -> GenerativePolicy:
    torch.manual_seed(0)
    return make_policy(process, "mlp", settings or {"steps": 4}, chunk=4, execute=2, history=2).eval()


def windows(count: int = 5) -> Tensor:
    return torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(0)) * 3 + 5


def noise_of(policy: PolicyModule, count: int = 5) -> Tensor:
    return torch.randn(count, *policy.noise_shape, generator=torch.Generator().manual_seed(1))


def sampled(policy: Any, seed: int = 2) -> Tensor:
    return policy.sample(windows(), noise_of(policy), torch.Generator().manual_seed(seed)).detach()


@each_kind
@torch.no_grad()
def test_the_base_makes_the_first_steps_and_the_tuned_network_the_last(
    make_policy: Make, process: str, settings: dict[str, Any]
) -> None:
    """Kernel by kernel, with the noise that the solver draws on the way."""
    base = based(make_policy, process, settings)
    policy, generator = tuned(base), torch.Generator().manual_seed(2)
    cond, x = base.encode(base.windows(windows())), noise_of(base)
    for k in range(4):
        mean, std = base.process.kernel(base.network if k < 2 else policy.network, x, k, cond)
        x = mean + std * torch.randn(mean.shape, generator=generator) if std else mean
    torch.testing.assert_close(sampled(policy), base.to_raw(x))
    assert not torch.equal(sampled(policy), sampled(base))


@each_kind
def test_untuned_it_is_the_base(make_policy: Make, process: str, settings: dict[str, Any]) -> None:
    base = based(make_policy, process, settings)
    for steps in (1, 3, 4):
        assert torch.equal(sampled(tuned(base, steps, scale=0.0)), sampled(base))


@each_kind
def test_it_is_saved_with_its_base(make_policy: Make, tmp_path: Path, process: str, settings: dict[str, Any]) -> None:
    policy = tuned(based(make_policy, process, settings))
    loaded = load_policy(policy.save(tmp_path / "policy"))
    assert isinstance(loaded, FineTuned)
    assert loaded.tuned_steps == 2
    assert torch.equal(sampled(loaded), sampled(policy))
    assert loaded.checkpoint_hash() == policy.checkpoint_hash()
    assert loaded.checkpoint_hash() != tuned(based(make_policy, process, settings), scale=0.0).checkpoint_hash()
    assert generative(loaded).checkpoint_hash() == based(make_policy, process, settings).checkpoint_hash()


@each_kind
def test_it_is_accelerated(make_policy: Make, process: str, settings: dict[str, Any]) -> None:
    policy = tuned(based(make_policy, process, settings))
    fast = accelerate(policy, "eager", batch=5)
    torch.testing.assert_close(sampled(fast), sampled(policy))
    with torch.no_grad():
        next(policy.network.parameters()).mul_(3.0)
    torch.testing.assert_close(sampled(fast), sampled(policy))


@ONNX
def test_it_is_exported(make_policy: Make, tmp_path: Path) -> None:
    policy = tuned(based(make_policy))
    assert disagreement(accelerate(policy, "onnx", batch=5)) <= TOLERANCE
    exported = Exported(export(policy, tmp_path / "onnx", batch=5))
    torch.testing.assert_close(sampled(exported), sampled(policy), rtol=1e-4, atol=1e-5)


def test_others_stand_in_front_of_it(make_policy: Make, tmp_path: Path) -> None:
    """A critic that chooses, edits, and an actor of its noise."""
    policy = tuned(based(make_policy))
    steered = Steered(policy, new_actor(policy, SMALL, 1.5, False))
    edited = Edited(steered, new_editor(steered, SMALL, 0.2, 0.1), share=0.5)
    critic = new_critic(policy, CriticConfig(width=8, depth=1), 2)
    whole = Guided(edited, critic, Acting(3, "argmax")).eval()
    loaded = load_policy(whole.save(tmp_path / "whole"))
    assert torch.equal(sampled(loaded), sampled(whole))
    assert whole.calls().evaluations == 12
    with pytest.raises(LaminarError, match="goes between the steps of a policy, and this one"):
        Guided(policy, critic, Acting(guidance="gradient"))


@pytest.mark.parametrize("steps", [2, 5])
def test_other_steps_than_those_that_were_tuned(make_policy: Make, steps: int) -> None:
    policy = tuned(based(make_policy))
    assert torch.equal(policy.sample(windows(), noise_of(policy), steps=4), sampled(policy))
    with pytest.raises(LaminarError, match=r"the last 2 of this policy's 4 steps were tuned as they are"):
        policy.sample(windows(), noise_of(policy), steps=steps)


def test_steps_that_there_are_not(make_policy: Make) -> None:
    for steps in (0, 5):
        with pytest.raises(LaminarError, match=f"makes 4 denoising steps, and the last {steps} of them.*choose 1 to 4"):
            tuned(based(make_policy), steps)
    for process, solver in (("flow", "heun"), ("diffusion", "dpmpp_2s")):
        with pytest.raises(LaminarError, match="takes several network calls into a step"):
            tuned(based(make_policy, process, {"solver": solver, "steps": 4}))
    with pytest.raises(LaminarError, match="a fine-tuned policy needs a generative base"):
        restore({"tuned_steps": 1}, based(make_policy).spec, None)


def test_the_noise_head_stays_within_its_bounds() -> None:
    torch.manual_seed(0)
    head = NoiseHead(NoiseHeadConfig(low=0.1, high=0.4), 6, (4, 2))
    cond, times = torch.randn(50, 2, 3), torch.rand(50, 1)
    torch.testing.assert_close(head(cond, times, 0.4), torch.full((50, 4, 2), 0.2), msg="in the middle, in logarithms")
    with torch.no_grad():
        head.last.weight.normal_(0, 20)
    for high in (0.4, torch.tensor(0.4)):
        sigma = head(cond, times, high)
        assert sigma.min().item() == pytest.approx(0.1, rel=0.02)
        assert sigma.max().item() == pytest.approx(0.4, rel=0.02)
    assert head(cond, times, 0.2).max() <= 0.2 + 1e-6, "an upper bound that falls"
