"""The losses of steering, term by term, and what they learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from laminar.policies import GenerativePolicy
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.train.methods.steering import Agent, Config
from laminar.train.methods.steering.losses import actor_loss, critic_loss, editor_loss, noise_critic_loss, proposals

B = 6


def config(**changed: Any) -> Config:
    critic = CriticConfig(width=8, depth=1, activation="tanh", layer_norm=True)
    return Config(critic=critic, actor=NoiseActorConfig(width=8, depth=1), **({"actor_rate": 1.0} | changed))


@pytest.fixture
def agent_of(base: GenerativePolicy) -> Callable[..., Agent]:
    def make(**changed: Any) -> Agent:
        torch.manual_seed(0)
        agent = Agent(base, config(**changed))
        with torch.no_grad():
            if agent.config.steer:
                agent.steered.noise_actor.head.weight.normal_(0, 0.3)
            if agent.config.edits:
                agent.edited.editor.head.weight.normal_(0, 0.3)
        return agent

    return make


def batch_of(agent: Agent, seed: int = 0) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    spec = agent.base.spec
    cond = agent.base.encode(agent.base.windows(draw(B, 3)))
    following = agent.base.encode(agent.base.windows(draw(B, 3)))
    batch = {"cond": cond, "next_cond": following, "action": draw(B, spec.execute * spec.action_dim)}
    batch |= {"reward": draw(B), "discount": torch.tensor([0.9, 0.0, 0.9, 0.9, 0.0, 0.9])}
    draws = {name: draw(B, math.prod(agent.base.noise_shape)) for name in ("next_noise", "noise", "prior")}
    return batch, draws | {name: draw(B, spec.execute * spec.action_dim) for name in ("next_edit", "edit")}


@pytest.mark.parametrize("entropy_backup", [False, True])
def test_the_target(agent_of: Callable[..., Agent], entropy_backup: bool) -> None:
    """y = r + gamma Q'(s', base(s', w')); a terminal has no value behind it, a time limit has."""
    agent = agent_of(entropy_backup=entropy_backup, temperature=0.5, pessimism=1.0)
    batch, draws = batch_of(agent)
    found, metrics = critic_loss(agent, batch, draws, torch.tensor(2.0))
    s, following = batch["cond"].flatten(1), batch["next_cond"]
    w, density = agent.steered.noise_actor.sample_with_density(following.flatten(1), draws["next_noise"])
    chunk = agent.steered.base.decode(following, w.view(B, 4, -1))  # type: ignore[union-attr]
    action = agent.steered.base.action_normalizer({"action": chunk[:, :2]})["action"]  # type: ignore[union-attr]
    value = agent.target(following.flatten(1), action.flatten(1)).amin(dim=0)  # of two heads, one deviation below
    y = 2 * batch["reward"] + batch["discount"] * (value - 0.5 * density if entropy_backup else value)
    q = agent.critic(s, batch["action"])
    torch.testing.assert_close(found, (q - y.detach()).square().mean(dim=1).sum())
    assert metrics["target"].item() == pytest.approx(y.mean().item(), rel=1e-5)
    assert torch.equal(y[1], 2 * batch["reward"][1])


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
    moved = {agent.part_of(name) for name, p in agent.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert {"actor", "log_temperature"} <= moved
    missing = (density + agent.config.target_entropy * actor.noise_dim).mean().detach()
    assert agent.log_temperature.grad is not None
    torch.testing.assert_close(agent.log_temperature.grad, -missing)


def test_the_base_is_no_part_of_what_learns(agent_of: Callable[..., Agent]) -> None:
    agent = agent_of()
    parts = {agent.part_of(name) for name, _ in agent.named_parameters()}
    assert parts == {None, "actor", "critic", "target", "noise_critic", "log_temperature"}
    assert all(agent.part_of(name) is None for name, _ in agent.named_parameters() if ".base." in f".{name}")


def edited_by_hand(agent: Agent, cond: torch.Tensor, action: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """a + scale clip(tanh f(s, a) + deviation e, -1, 1), inside the limits of actions, normalized."""
    editor, normalizer = agent.edited.editor, agent.base.action_normalizer  # type: ignore[union-attr]
    mean = torch.tanh(editor.head(editor.layers(torch.cat([cond.flatten(1), action], dim=1))))
    ends = [
        normalizer({"action": torch.tensor([[end, end]])})["action"].flatten() for end in ([-2.0, 0.0], [2.0, 20.0])
    ]
    moved = action + agent.config.edit_scale * (mean + agent.config.edit_deviation * noise).clamp(-1, 1)
    return torch.maximum(torch.minimum(moved, ends[1]), ends[0])


@pytest.mark.parametrize("steer", [True, False])
def test_the_target_is_of_the_better_of_edited_and_unedited(agent_of: Callable[..., Agent], steer: bool) -> None:
    agent = agent_of(steer=steer, edit_scale=0.4, edit_deviation=0.5, pessimism=0.7)
    batch, draws = batch_of(agent)
    found, _ = critic_loss(agent, batch, draws, torch.tensor(1.0))
    s, following = batch["cond"].flatten(1), batch["next_cond"]
    w = draws["next_noise"]  # of residual learning the base keeps N(0, I)
    if steer:
        w = agent.steered.noise_actor.sample(following.flatten(1), w)
    chunk = agent.base.decode(following, w.view(B, 4, -1))
    action = agent.base.action_normalizer({"action": chunk[:, :2]})["action"].flatten(1)  # type: ignore[union-attr]
    edited = edited_by_hand(agent, following, action, draws["next_edit"])

    def judged(a: torch.Tensor) -> torch.Tensor:
        q = agent.target(following.flatten(1), a)
        return q.mean(dim=0) - 0.7 * q.std(dim=0, correction=0)

    better = torch.maximum(judged(action), judged(edited))
    assert (judged(edited) > judged(action)).any()
    assert (judged(edited) < judged(action)).any()
    y = batch["reward"] + batch["discount"] * better
    q = agent.critic(s, batch["action"])
    torch.testing.assert_close(found, (q - y.detach()).square().mean(dim=1).sum())


@pytest.mark.parametrize("heads", [1, 2, 5])
@pytest.mark.parametrize("pessimism", [0.0, 0.5, 1.0])
def test_pessimism_is_deviations_below_the_mean(base: GenerativePolicy, heads: int, pessimism: float) -> None:
    critic = CriticConfig(width=8, depth=1, heads=heads)
    config = Config(critic=critic, actor=NoiseActorConfig(width=8, depth=1), pessimism=pessimism, actor_rate=1.0)
    agent = Agent(base, config)
    q = torch.randn(heads, 7, generator=torch.Generator().manual_seed(0))
    found, values = agent.judged(q), q.double().numpy()
    torch.testing.assert_close(
        found.double().numpy(), values.mean(axis=0) - pessimism * values.std(axis=0), rtol=1e-5, atol=1e-6
    )
    if heads == 2 and pessimism == 1.0:
        torch.testing.assert_close(found, q.amin(dim=0))


@pytest.mark.parametrize("steer", [True, False])
def test_the_editor_climbs_the_critic_and_nothing_else_moves(agent_of: Callable[..., Agent], steer: bool) -> None:
    agent = agent_of(steer=steer, edit_scale=0.4, edit_deviation=0.1, edit_penalty=0.7)
    batch, draws = batch_of(agent)
    w, action = proposals(agent, batch, draws)
    loss, metrics = editor_loss(agent, batch, action, draws)
    edited, s = edited_by_hand(agent, batch["cond"], action, draws["edit"]), batch["cond"].flatten(1)
    q, unedited = (agent.critic(s, one).mean(dim=0) for one in (edited, action))
    penalty = 0.7 * ((edited - action) / 0.4).square().mean()
    torch.testing.assert_close(loss, -q.mean() / q.abs().mean() + penalty)
    assert metrics["edit_gain"].item() == pytest.approx((q - unedited).mean().item(), abs=1e-6)
    assert metrics["edit_size"].item() == pytest.approx((edited - action).abs().mean().item(), abs=1e-6)
    agent.requires_grad_(False)
    for name, parameter in agent.named_parameters():
        parameter.requires_grad_(agent.part_of(name) == "editor")
    editor_loss(agent, batch, action, draws)[0].backward()
    assert agent.edited.editor.head.weight.grad is not None
    assert not w.requires_grad
    assert not action.requires_grad, "the base is never differentiated"


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_many_proposals_are_the_actors_own(agent_of: Callable[..., Agent], share: float) -> None:
    agent = agent_of(on_policy=share)
    batch, draws = batch_of(agent)
    w, action = proposals(agent, batch, draws)
    own, count = agent.steered.noise_actor.sample(batch["cond"].flatten(1), draws["noise"]), round(share * B)
    torch.testing.assert_close(w[:count], own[:count])
    torch.testing.assert_close(w[count:], draws["prior"][count:].clamp(-2, 2))
    torch.testing.assert_close(action, agent.execute(batch["cond"], w))


def test_parts_of_steering_and_edits(base: GenerativePolicy) -> None:
    """Actors inside the base are of the base, wherever they stand."""
    both = Agent(base, config(edit_scale=0.2))
    parts = {both.part_of(name) for name, _ in both.named_parameters()}
    assert parts == {None, "actor", "editor", "critic", "target", "noise_critic", "log_temperature"}
    for steer, learned in ((True, {"actor", "editor"}), (False, {"editor"})):
        again = Agent(both.policy, config(edit_scale=0.2, steer=steer))
        names = [name for name, _ in again.named_parameters() if name.startswith("policy.")]
        assert {again.part_of(name) for name in names} == {None, *learned}
        mine = [p.data_ptr() for name, p in again.named_parameters() if again.part_of(name) in ("actor", "editor")]
        assert not {*mine} & {p.data_ptr() for p in both.parameters()}
