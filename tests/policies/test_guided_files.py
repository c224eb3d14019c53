"""Files of a guided policy: of its own kind, in today's layout and in that of old, and its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, Guided, guide
from laminar.policies.module import PolicyModule

MakePolicy = Callable[..., GenerativePolicy]
MakeGuided = Callable[..., Guided]


def observations(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * 3 + 5


def noise_for(policy: PolicyModule, count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, *policy.noise_shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("acting", [Acting(), Acting(5), Acting(7, "argmax"), Acting(3, noise_scale=0.5)], ids=str)
def test_it_saves_as_the_policy_it_is(make_critical: MakeGuided, tmp_path: Path, acting: Acting) -> None:
    policy = make_critical("flow", history=2, chunk=4, execute=2)
    guided = guide(policy, acting).eval()
    assert guided.checkpoint_hash() == policy.checkpoint_hash()
    loaded = load_policy(guided.save(tmp_path / "saved"))
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (config["kind"], config["base"]["kind"]) == ("guided", "generative")
    assert isinstance(loaded, Guided)
    assert (loaded.acting, loaded.spec, loaded.config) == (acting, guided.spec, guided.config)
    assert loaded.checkpoint_hash() == guided.checkpoint_hash()
    obs = torch.stack([observations(4, seed) for seed in (0, 1)], dim=1)
    with torch.no_grad():
        for other in (acting, Acting(12, "argmax"), Acting()):  # as it was saved, and told anew
            again, before = guide(loaded, other), guide(policy, other)
            noise = noise_for(again, 4)
            assert torch.equal(again.sample(obs, noise), before.sample(obs, noise))
        single, chosen = (guide(loaded, Acting(1)), guide(loaded, Acting(12, "argmax")))
        assert not torch.equal(single.sample(obs, torch.ones(4, 4, 2)), chosen.sample(obs, noise_for(chosen, 4)))


def test_a_choice_among_candidates_that_lost_its_critic(make_critical: MakeGuided, tmp_path: Path) -> None:
    folder = guide(make_critical("flow"), Acting(5)).save(tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"critic": None}))
    with pytest.raises(LaminarError, match=r"candidates=5 need a critic"):
        load_policy(folder)
    (folder / "config.json").write_text(json.dumps(config | {"base": None}))
    with pytest.raises(LaminarError, match=r"a guided policy needs a base"):
        load_policy(folder)
    (folder / "config.json").write_text(json.dumps(config | {"kind": "guidde"}))
    with pytest.raises(LaminarError, match=r"holds a 'guidde', and.*did you mean 'guided'"):
        load_policy(folder)


def test_the_critic_and_the_base_are_one_modules(make_critical: MakeGuided, make_policy: MakePolicy) -> None:
    """What is put into the base is what the guided policy samples from, and every tensor has one name."""
    policy = make_critical("flow")
    guided, base = guide(policy, Acting(5)), generative(policy)
    obs, noise = observations(4), noise_for(guided, 4)
    with torch.no_grad():
        before = guided.sample(obs, noise)
        torch.manual_seed(7)
        base.network = make_policy("flow").network
        after = guided.sample(obs, noise)
    assert not torch.equal(before, after)
    assert generative(guided) is base
    assert guided.get_submodule("base.network") is base.network
    names = set(guided.state_dict())
    assert all(name.startswith(("base.", "critic.")) for name in names)
    assert {name.removeprefix("base.") for name in names if name.startswith("base.")} == set(base.state_dict())


def old_layout(policy: Guided, folder: Path) -> Path:
    """Write a policy with a critic as it was before policies had kinds: the critic is one of the policy's own parts."""
    base = generative(policy)
    assert policy.critic is not None
    folder.mkdir()
    config: dict[str, Any] = {name: value for name, value in base.config.items() if name != "kind"}
    (folder / "config.json").write_text(json.dumps(config | {"critic": asdict(policy.critic.config)}))
    (folder / "spec.json").write_text(json.dumps(policy.spec.to_json()))
    critic = {f"critic.{name}": value for name, value in policy.critic.state_dict().items()}
    save_file(base.state_dict() | critic, folder / "model.safetensors")
    return folder


def old_hash(folder: Path) -> str:
    """The hash of weights as it was computed when a policy had no parts: all names in their order."""
    digest = hashlib.sha256()
    for name, value in sorted(load_file(folder / "model.safetensors").items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:16]


def test_a_folder_in_the_old_layout(make_critical: MakeGuided, tmp_path: Path) -> None:
    policy = make_critical("meanflow", history=2, chunk=4, execute=2).eval()
    folder = old_layout(policy, tmp_path / "old")
    loaded = load_policy(folder)
    assert isinstance(loaded, Guided)
    assert loaded.acting == Acting()
    assert loaded.config == policy.config
    assert loaded.checkpoint_hash() == policy.checkpoint_hash() == old_hash(folder)
    obs = torch.stack([observations(4, seed) for seed in (0, 1)], dim=1)
    with torch.no_grad():
        for acting in (Acting(), Acting(6, "argmax"), Acting(6)):
            again, before = guide(loaded, acting), guide(policy, acting)
            assert torch.equal(again.sample(obs, noise_for(again, 4)), before.sample(obs, noise_for(before, 4)))
    assert load_policy(loaded.save(tmp_path / "new")).checkpoint_hash() == old_hash(folder)
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.startswith("network."))
    save_file({key: value for key, value in tensors.items() if key != name}, folder / "model.safetensors")
    with pytest.raises(LaminarError, match=name):
        load_policy(folder)


def test_the_old_layout_without_a_critic(make_policy: MakePolicy, tmp_path: Path) -> None:
    policy = make_policy("flow").eval()
    folder = policy.save(tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    del config["kind"]
    (folder / "config.json").write_text(json.dumps(config | {"critic": None}))
    loaded = load_policy(folder)
    assert type(loaded) is GenerativePolicy
    assert loaded.checkpoint_hash() == policy.checkpoint_hash() == old_hash(folder)


def test_the_hash_leaves_out_nothing_but_the_parts_of_a_composition(make_policy: MakePolicy, tmp_path: Path) -> None:
    """A network's own part may be called "base" as well."""
    policy = make_policy("flow")
    policy.network.add_module("base", torch.nn.Linear(2, 2))
    folder = policy.save(tmp_path / "policy")
    assert policy.checkpoint_hash() == Guided(Guided(policy)).checkpoint_hash() == old_hash(folder)


def test_a_critic_that_diverged_is_refused_where_it_is_to_choose(make_critical: MakeGuided, tmp_path: Path) -> None:
    guided = guide(make_critical("flow"), Acting(4))
    with torch.no_grad():
        next(guided.critic.parameters()).fill_(torch.nan)
    with pytest.raises(LaminarError, match="the policy's critic is not finite"):
        load_policy(guided.save(tmp_path / "saved"))


def test_every_critic_counts_in_the_hash(make_critical: MakeGuided) -> None:
    """One in front of another: both have tensors of the same names."""
    inner = make_critical("flow")
    outer = Guided(inner, make_critical("flow").critic)
    before = outer.checkpoint_hash()
    with torch.no_grad():
        next(inner.critic.parameters()).add_(1.0)
    assert outer.checkpoint_hash() != before
