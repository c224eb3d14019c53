"""What every method of offline Q-learning must do; a new file of settings is tested here without a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.policies import Actor, load_policy
from laminar.policies.guided import critic_of
from laminar.train.methods.q_learning import QLearning
from laminar.train.methods.q_learning.rewards import TUNINGS


def test_there_are_methods_to_check(q_toys: Any) -> None:
    assert {"dql", "ofql", "fql", "iql", "rebrac", "td3bc"} <= set(q_toys.METHODS)


def snapshot(learner: QLearning) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.state().items()}


def test_two_updates_learn(q_toys: Any, method: str) -> None:
    """Finite and detached metrics, from the learner's own generator, and a policy that is another one afterwards."""
    learner = q_toys.learner(q_toys.random(), method)
    global_state, before = torch.get_rng_state(), learner.product().checkpoint_hash()
    for step in range(2):
        metrics = learner.update(step)
        assert all(value.shape == () and torch.isfinite(value) for value in metrics.values()), metrics
        assert not any(value.requires_grad for value in metrics.values()), "the tape would be kept until they are read"
        if step == 0:
            assert {"loss", "critic_loss", "behavior_loss"} <= metrics.keys()
    assert learner.product().checkpoint_hash() != before
    assert not any(parameter.requires_grad for parameter in learner.product().parameters())
    assert torch.equal(torch.get_rng_state(), global_state)


def test_the_agents_parameters_are_the_newest(q_toys: Any, method: str) -> None:
    """All of them: who looks at the actor that learns, or at its critic, does not see initial weights."""
    learner = q_toys.learner(q_toys.random(), method)
    before = {name: value.clone() for name, value in learner.agent.named_parameters()}
    for step in range(2):
        learner.update(step)
    for part in ("actor", "critic"):
        held = torch.cat([parameter.flatten() for parameter in getattr(learner.agent, part).parameters()])
        assert torch.equal(held, learner.program.state[part])
    assert all(not torch.equal(before[name], value) for name, value in learner.agent.named_parameters())


def test_a_restored_run_goes_on_alike(q_toys: Any, method: str) -> None:
    first, second = (q_toys.learner(q_toys.random(), method, seed=seed) for seed in (0, 1))
    for step in range(3):
        first.update(step)
    second.product().load_state_dict(first.product().state_dict())
    second.load_state(snapshot(first))
    for step in (3, 4):
        one, other = first.update(step), second.update(step)
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    expected, found = first.state(), second.state()
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert first.product().checkpoint_hash() == second.product().checkpoint_hash()


def test_the_policy_saves_loads_and_acts(q_toys: Any, method: str, tmp_path: Path) -> None:
    learner = q_toys.learner(q_toys.random(), method)
    learner.update(0)
    policy = learner.product()
    restored = load_policy(policy.save(tmp_path / "policy"))
    assert restored.checkpoint_hash() == policy.checkpoint_hash()
    observation = torch.linspace(-1, 1, 12).view(4, 3)
    noise = torch.randn(4, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)  # the ancestral sampler draws on the way
    expected = Actor(policy).act(observation, noise)
    torch.manual_seed(0)
    assert torch.equal(Actor(restored).act(observation, noise), expected)
    assert expected.shape == (4, 2)
    assert expected.abs().max() <= 1.0


def test_the_saved_critic_is_the_target(q_toys: Any, method: str, tmp_path: Path) -> None:
    """It judges candidates after training as it did in it."""
    learner = q_toys.learner(q_toys.random(), method)
    learner.update(0)
    restored = load_policy(learner.product().save(tmp_path / "policy"))
    critic = critic_of(restored)
    assert critic is not None
    s, a = torch.randn(5, 3), torch.randn(5, 2)
    assert torch.equal(critic(s, a), learner.agent.target(s, a))
    saved = torch.cat([parameter.detach().flatten() for parameter in critic.parameters()])
    assert torch.equal(saved, learner.program.state["target"])


def test_chunks_train(q_toys: Any, method: str) -> None:
    learner = q_toys.learner(q_toys.random(), method, "policy.chunk=3", "policy.history=2", "policy.execute=3")
    metrics = learner.update(0)
    assert all(torch.isfinite(value) for value in metrics.values())
    observation = torch.randn(4, 2, 3)
    assert learner.product().sample({"observation": observation}).shape == (4, 3, 2)


@pytest.mark.parametrize("tuning", sorted(TUNINGS))
def test_every_tuning_of_the_rewards_trains(q_toys: Any, tuning: str) -> None:
    learner = q_toys.learner(q_toys.random(), "td3bc", f"method.reward={tuning}")
    assert torch.isfinite(learner.update(0)["critic_loss"])
