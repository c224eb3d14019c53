"""The losses of steering, term by term, and what they learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from laminar.policies import GenerativePolicy
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.train.methods.steering import Agent, Config
from laminar.train.methods.steering.agent import part_of
from laminar.train.methods.steering.losses import actor_loss, critic_loss, noise_critic_loss, proposals

B = 6


def config(**changed: Any) -> Config:
    critic = CriticConfig(width=8, depth=1, activation="tanh", layer_norm=True)
    return Config(critic=critic, actor=NoiseActorConfig(width=8, depth=1), **changed)


@pytest.fixture
def agent_of(base: GenerativePolicy) -> Callable[..., Agent]:
    def make(**changed: Any) -> Agent:
        torch.manual_seed(0)
        agent = Agent(base, config(**changed))
        with torch.no_grad():
            agent.steered.noise_actor.head.weight.normal_(0, 0.3)
        return agent

    return make


def batch_of(agent: Agent, seed: int = 0) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    spec = agent.steered.spec
    cond = agent.steered.encode(agent.steered.windows(draw(B, 3)))
    following = agent.steered.encode(agent.steered.windows(draw(B, 3)))
    batch = {"cond": cond, "next_cond": following, "action": draw(B, spec.execute * spec.action_dim)}
    batch |= {"reward": draw(B), "discount": torch.tensor([0.9, 0.0, 0.9, 0.9, 0.0, 0.9])}
    dim = agent.steered.noise_actor.noise_dim
    return batch, {name: draw(B, dim) for name in ("next_noise", "noise", "prior")}


@pytest.mark.parametrize("entropy_backup", [False, True])
def test_the_target(agent_of: Callable[..., Agent], entropy_backup: bool) -> None:
    """y = r + gamma Q'(s', base(s', w')); a terminal has no value behind it, a time limit has."""
    agent = agent_of(entropy_backup=entropy_backup, temperature=0.5, pessimism=1.0)
    batch, draws = batch_of(agent)
    found, metrics = critic_loss(agent, batch, draws)
    s, following = batch["cond"].flatten(1), batch["next_cond"]
    w, density = agent.steered.noise_actor.sample_with_density(following.flatten(1), draws["next_noise"])
    chunk = agent.steered.base.decode(following, w.view(B, 4, -1))  # type: ignore[union-attr]
    action = agent.steered.base.action_normalizer({"action": chunk[:, :2]})["action"]  # type: ignore[union-attr]
    value = agent.target(following.flatten(1), action.flatten(1)).amin(dim=0)  # of two heads, one deviation below
    y = batch["reward"] + batch["discount"] * (value - 0.5 * density if entropy_backup else value)
    q = agent.critic(s, batch["action"])
    torch.testing.assert_close(found, (q - y.detach()).square().mean(dim=1).sum())
    assert metrics["target"].item() == pytest.approx(y.mean().item(), rel=1e-5)
    assert torch.equal(y[1], batch["reward"][1])


def test_each_head_teaches_its_own(agent_of: Callable[..., Agent]) -> None:
    agent = agent_of(on_policy=0.5)
    batch, draws = batch_of(agent)
    found, _ = noise_critic_loss(agent, batch, *proposals(agent, batch, draws))
    s = batch["cond"].flatten(1)
    own = agent.steered.noise_actor.sample(s, draws["noise"])
    w = torch.cat([own[:3], draws["prior"][3:].clamp(-2, 2)])
    wanted = agent.critic(s, agent.execute(batch["cond"], w))
    torch.testing.assert_close(found, 0.5 * (agent.noise_critic(s, w) - wanted).square().mean(dim=1).sum())


def test_noises_are_learned_within_the_actors_bound(agent_of: Callable[..., Agent]) -> None:
    """The public code lets the critic of noises learn on draws that its actor cannot choose."""
    agent = agent_of(noise_bound=0.5, on_policy=0.0)
    batch, draws = batch_of(agent)
    seen: list[torch.Tensor] = []
    agent.noise_critic.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    noise_critic_loss(agent, batch, *proposals(agent, batch, draws))
    assert seen[0].abs().max() <= 0.5
    assert draws["prior"].abs().max() > 1.0


def test_the_actor_climbs_and_nothing_else_does(agent_of: Callable[..., Agent]) -> None:
    agent = agent_of(temperature=0.2, pessimism=0.5)
    batch, draws = batch_of(agent)
    loss, metrics = actor_loss(agent, batch, draws, 0.1)
    s, actor = batch["cond"].flatten(1), agent.steered.noise_actor
    w, density = actor.sample_with_density(s, draws["noise"])
    q = agent.noise_critic(s, w)
    judged = q.mean(dim=0) - 0.5 * q.std(dim=0, correction=0)
    policy = (0.2 * density - judged + 0.1 * (density + 0.5 * w.square().sum(dim=1))).mean()
    torch.testing.assert_close(metrics["loss"], policy.detach())
    loss.backward()
    moved = {part_of(name) for name, p in agent.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert {"actor", "log_temperature"} <= moved
    missing = (density + agent.config.target_entropy * actor.noise_dim).mean().detach()
    assert agent.log_temperature.grad is not None
    torch.testing.assert_close(agent.log_temperature.grad, -missing)


def test_the_base_is_no_part_of_what_learns(agent_of: Callable[..., Agent]) -> None:
    agent = agent_of()
    parts = {part_of(name) for name, _ in agent.named_parameters()}
    assert parts == {None, "actor", "critic", "target", "noise_critic", "log_temperature"}
    assert all(part_of(name) is None for name, _ in agent.named_parameters() if ".base." in f".{name}")
