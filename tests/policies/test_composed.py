"""A composed policy of a user's own, registered from outside, does all that the package's own kinds do."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.eval.rollouts.episodes import evaluate
from laminar.policies import NETWORKS, POLICIES, PROCESSES, GenerativePolicy, Policy, PolicyConfig, load_policy
from laminar.policies.export.exported import Exported
from laminar.policies.export.write import export
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, Guided, guide, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.runtimes import onnx as onnx_runtime
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.agreement import TOLERANCE
from laminar.policies.runtimes.fastest import disagreement

SOURCE = '''
"""A policy in front of a base: it scales the noise, by a weight that it learns, before the base sees it."""

import torch
from laminar.policies.module import PolicyModule


class Bent(PolicyModule):
    def __init__(self, base, factor):
        super().__init__()
        self.spec, self.base, self.factor = base.spec, base, factor
        self.gain = torch.nn.Parameter(torch.tensor(0.5))

    noise_shape = property(lambda self: self.base.noise_shape)
    noise_axes = property(lambda self: self.base.noise_axes)
    device = property(lambda self: self.base.device)
    action_scale = property(lambda self: self.base.action_scale)

    @property
    def config(self):
        return {"kind": "bent", "factor": self.factor, "base": self.base.config}

    def encode(self, observation):
        return self.base.encode(observation)

    def decode(self, cond, noise, steps=None, source=None, network=None):
        return self.base.decode(cond, self.factor * self.gain * noise, steps, source, network)


def restore(config, spec, base):
    return Bent(base, config["factor"])
'''
ONNX = pytest.mark.skipif(
    onnx_runtime.missing(torch.device("cpu")) is not None, reason="laminar[export] is not installed"
)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Register a kind "bent" from a file outside of the package, for one test."""
    path = tmp_path / "bent.py"
    path.write_text(SOURCE)
    found = importlib.util.spec_from_file_location("bent_outside", path)
    assert found is not None
    assert found.loader is not None
    made = importlib.util.module_from_spec(found)
    found.loader.exec_module(made)
    monkeypatch.setattr(POLICIES, "_registered", {})
    assert POLICIES.register(made) == "bent"
    return made


@pytest.fixture
def base() -> GenerativePolicy:
    """Return an untrained policy that fits Pendulum-v1."""
    rng = np.random.default_rng(0)
    zeros = np.zeros(40, bool)
    spec = Spec({"observation": Feature((3,))}, Feature((1,)), (-2.0,), (2.0,))
    episodes = Episodes(
        observation={"observation": rng.normal(0, 2, (40, 3)).astype(np.float32)},
        final_observation={"observation": np.zeros((1, 3), np.float32)},
        action=rng.uniform(-2, 2, (40, 1)).astype(np.float32),
        reward=np.zeros(40, np.float32),
        terminated=zeros,
        truncated=zeros,
        ends=np.array([40]),
        spec=spec,
    )
    torch.manual_seed(0)
    config = PolicyConfig(PROCESSES.config_class("flow")(steps=3), history=2, chunk=4, execute=2)
    return GenerativePolicy.build(config, NETWORKS.config_class("mlp")(width=16, depth=1), episodes).eval()


@pytest.fixture
def bent(module: ModuleType, base: GenerativePolicy) -> PolicyModule:
    return module.Bent(base, 1.5).eval()


def windows(count: int) -> Tensor:
    return torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(0))


def noise_for(policy: Policy, count: int) -> Tensor:
    assert policy.noise_shape is not None
    return torch.randn(count, *policy.noise_shape, generator=torch.Generator().manual_seed(1))


def chunks(policy: Any, count: int = 5) -> Tensor:
    return policy.sample(windows(count), noise_for(policy, count)).detach()


def test_it_is_a_policy(bent: PolicyModule, base: GenerativePolicy) -> None:
    assert isinstance(bent, Policy)
    noise = noise_for(bent, 5)
    assert torch.equal(chunks(bent), base.sample(windows(5), 1.5 * 0.5 * noise).detach())
    assert not torch.equal(chunks(bent), chunks(base))
    assert generative(bent) is base
    assert bent.act(torch.zeros(2, 3)).shape == (2, 1)
    bent.schedules["quick"] = "shared with the base"  # type: ignore[assignment]
    assert base.schedules == bent.schedules


def test_it_saves_and_loads(bent: PolicyModule, module: ModuleType, tmp_path: Path) -> None:
    with torch.no_grad():
        bent.get_parameter("gain").fill_(0.25)
    folder = bent.save(tmp_path / "saved")
    loaded = load_policy(folder)
    assert type(loaded) is module.Bent
    assert (loaded.config, loaded.spec) == (bent.config, bent.spec)
    assert loaded.checkpoint_hash() == bent.checkpoint_hash()
    assert torch.equal(chunks(loaded), chunks(bent))


def test_its_kind_must_be_registered_where_it_is_loaded(
    bent: PolicyModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bent.save(tmp_path / "saved")
    monkeypatch.setattr(POLICIES, "_registered", {})
    with pytest.raises(LaminarError, match=r"holds a .bent., and no kind of policy.*generative, guided"):
        load_policy(folder)


def test_what_is_missing_in_its_files_is_told(bent: PolicyModule, tmp_path: Path) -> None:
    folder = bent.save(tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({name: config[name] for name in ("kind", "base")}))
    with pytest.raises(LaminarError, match=r"config.json is damaged.*factor"):
        load_policy(folder)
    (folder / "config.json").write_text(json.dumps(config["base"]))
    with pytest.raises(LaminarError, match=r"tensor '.*' is missing|unexpected tensor"):
        load_policy(folder)


def test_it_is_guided_and_the_guided_one_is_saved(bent: PolicyModule, module: ModuleType, tmp_path: Path) -> None:
    critic = new_critic(generative(bent), CriticConfig(width=8, depth=1))
    guided = Guided(bent, critic, Acting(6, "argmax")).eval()
    loaded = load_policy(guided.save(tmp_path / "guided"))
    assert isinstance(loaded, Guided)
    assert type(loaded.composed_of) is module.Bent
    assert torch.equal(chunks(loaded), chunks(guided))
    noise = noise_for(guided, 5)
    with torch.no_grad():
        each = torch.stack([bent.sample(windows(5), noise[:, i, :-1].reshape(5, 4, 1)) for i in range(6)], dim=1)
        gap = (each - guided.sample(windows(5), noise)[:, None]).abs().amax(dim=(2, 3)).amin(dim=1)
    assert gap.max() < 1e-5, "each choice is one of its samples"
    still = guide(bent, Acting(noise_scale=0.0))
    zero = bent.sample(windows(5), torch.zeros(5, 4, 1)).detach()
    torch.testing.assert_close(chunks(still), zero)


def test_it_stands_in_front_of_a_guided_one(bent: PolicyModule, module: ModuleType, tmp_path: Path) -> None:
    base = bent.base
    assert isinstance(base, GenerativePolicy)
    outer = module.Bent(Guided(base, new_critic(base, CriticConfig(width=8, depth=1)), Acting(3)), 2.0).eval()
    loaded = load_policy(outer.save(tmp_path / "outer"))
    assert outer.noise_shape == (3, 5)
    assert torch.equal(chunks(loaded), chunks(outer))
    assert loaded.checkpoint_hash() == outer.checkpoint_hash()


def test_it_is_accelerated(bent: PolicyModule) -> None:
    fast = accelerate(bent, "eager", batch=(1, 3))
    torch.testing.assert_close(chunks(fast, 3), chunks(bent, 3))
    with torch.no_grad():
        bent.get_parameter("gain").mul_(3.0)
    torch.testing.assert_close(chunks(fast, 3), chunks(bent, 3))


@ONNX
def test_it_is_accelerated_and_exported_with_onnx(bent: PolicyModule, tmp_path: Path) -> None:
    fast = accelerate(bent, "onnx", batch=2)
    assert disagreement(fast) <= TOLERANCE
    with torch.no_grad():
        bent.get_parameter("gain").mul_(3.0)
    torch.testing.assert_close(chunks(fast, 2), chunks(bent, 2), rtol=1e-4, atol=1e-5)  # its own weights are watched
    exported = Exported(export(bent, tmp_path / "onnx", batch=2))
    torch.testing.assert_close(chunks(exported, 2), chunks(bent, 2), rtol=1e-4, atol=1e-5)
    assert exported.description["checkpoint"] == bent.checkpoint_hash()
    assert exported.noise_shape == bent.noise_shape


def test_it_is_evaluated(bent: PolicyModule, base: GenerativePolicy, tmp_path: Path) -> None:
    found = evaluate(bent, "Pendulum-v1", [0, 1])
    assert found.checkpoint == bent.checkpoint_hash()
    assert found.returns != evaluate(base, "Pendulum-v1", [0, 1]).returns
    assert evaluate(bent.save(tmp_path / "saved"), "Pendulum-v1", [0, 1]).episodes == found.episodes
    mild = evaluate(bent, "Pendulum-v1", [0, 1], acting=Acting(noise_scale=0.5))
    assert mild.acting == Acting(noise_scale=0.5)
    assert mild.returns != found.returns


def test_a_base_of_another_spec_is_its_own_business(bent: PolicyModule) -> None:
    """Acting follows the composed policy's Spec, not that of its base."""
    bent.spec = replace(bent.spec, execute=4)
    calls = 0
    sample = bent.sample

    def counted(*args: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return sample(*args)

    bent.sample = counted  # type: ignore[method-assign]
    for _ in range(8):
        bent.act(torch.zeros(1, 3))
    assert calls == 2
