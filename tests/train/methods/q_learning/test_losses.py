"""The losses of offline Q-learning against the papers' formulas, written out sample by sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.data.transitions import Transitions
from laminar.policies import PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes.noise_schedules import vp
from laminar.train.methods.q_learning import Config
from laminar.train.methods.q_learning.agent import Agent
from laminar.train.methods.q_learning.draws import draw

BATCH, CHUNK = 5, 2
VP = {"schedule": "vp", "levels": 5, "steps": 5, "solver": "ddpm"}
OWN_PROCESSES = {"diffusion": VP, "meanflow": {}, "flow": {"steps": 3}, "direct": {}}

Case = tuple[Agent, dict[str, Any], dict[str, Any]]


def policy_of(q_toys: Any, process: str, **settings: Any) -> GenerativePolicy:
    config = PROCESSES.config_class(process)(**(OWN_PROCESSES[process] | settings))
    episodes = q_toys.random()
    return GenerativePolicy.build(
        PolicyConfig(process=config, chunk=CHUNK), MLPConfig(width=16, activation="mish"), episodes
    )


def case(q_toys: Any, process: str, student: bool = False, **settings: Any) -> Case:
    """An agent whose slow copies differ from what learns, a batch, and the draws of an update."""
    torch.manual_seed(0)
    policy = policy_of(q_toys, process)
    config = Config(critic=CriticConfig(width=16), **settings)
    agent = Agent(policy_of(q_toys, "direct", noise=True), config, policy) if student else Agent(policy, config)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for critic in (agent.critic, agent.target):
            critic.layers[-1].weight.mul_(10)  # values that differ from head to head and action to action
    generator = torch.Generator().manual_seed(1)
    batch = Transitions(q_toys.random(), chunk=CHUNK, discount=0.9).sample(BATCH, generator)
    return agent, batch, draw(agent, BATCH, generator)


def act(policy: GenerativePolicy, observation: Tensor, noise: Tensor, chain: Tensor | None) -> Tensor:
    """The chunk (1, H, A) of one observation (1, 1, D), inside the limits."""
    condition = policy.encode({"observation": observation})
    chunk = policy.process.sample(policy.network, noise, condition, generator=chain)
    scale = policy.action_normalizer
    return torch.minimum(
        torch.maximum(chunk, scale({"action": policy.action_low})["action"]),
        scale({"action": policy.action_high})["action"],
    )


def row(value: Tensor | None, index: int, axis: int = 0) -> Tensor | None:
    return None if value is None else value.narrow(axis, index, 1)


def value_of(critic: Any, policy: GenerativePolicy, observation: Tensor, chunk: Tensor) -> list[Tensor]:
    """One number a head."""
    return list(critic(policy.encode({"observation": observation}).flatten(1), chunk.flatten(1))[:, 0])


def as_one(values: list[Tensor], config: Config) -> Tensor:
    """The value of several heads."""
    if config.target_value == "min":
        return min(values)
    mean = sum(values) / len(values)
    return mean - config.pessimism * (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5


def backed_up(agent: Agent, batch: dict[str, Any], draws: dict[str, Any]) -> list[Tensor]:
    """The target of every transition: several actions of the slow actor, the best of each head, then over the heads."""
    config, targets = agent.config, []
    for i in range(BATCH):
        seen = batch["next_observation"]["observation"][i : i + 1]
        judged, said = [], []
        for j in range(i * config.backup_actions, (i + 1) * config.backup_actions):
            chunk = act(agent.averaged, seen, draws["next_noise"][j : j + 1], row(draws["next_chain"], j, 1))
            if config.target_noise > 0:
                smoothing = config.target_noise * draws["smoothing"][j : j + 1]
                smoothing = torch.where(smoothing.abs() > config.target_noise_clip, smoothing.sign() * 0.5, smoothing)
                chunk = (chunk + smoothing).clamp(agent.low, agent.high)
            judged.append(value_of(agent.target, agent.averaged, seen, chunk))
            said.append(as_one(value_of(agent.critic, agent.averaged, seen, chunk), config))
        best = [max(values) for values in zip(*judged, strict=True)]
        if config.backup_best == "critic":
            best = judged[said.index(max(said))]
        value = as_one(best, config)
        if config.target_penalty > 0:
            after = agent.actor.action_normalizer({"action": batch["next_action"][i : i + 1]})["action"]
            value = value - config.target_penalty * sum((chunk - after).flatten() ** 2)
        targets.append(batch["reward"][i] + batch["discount"][i] * value)
    return targets


CRITICS: dict[str, dict[str, Any]] = {
    "min": {},
    "mean": {"target_value": "mean"},
    "pessimism": {"target_value": "mean", "pessimism": 0.7},
    "max-Q backup": {"backup_actions": 4},
    "best by the critic": {"backup_actions": 4, "backup_best": "critic", "target_value": "mean", "pessimism": 0.3},
    "smoothing": {"target_noise": 0.8, "target_noise_clip": 0.5},
    "penalty": {"target_penalty": 0.7},
}


@pytest.mark.parametrize("process", OWN_PROCESSES)
@pytest.mark.parametrize("settings", CRITICS.values(), ids=CRITICS)
def test_the_critics_loss(q_toys: Any, process: str, settings: dict[str, Any]) -> None:
    agent, batch, draws = case(q_toys, process, **settings)
    expected = torch.zeros(())
    for i, target in enumerate(backed_up(agent, batch, draws)):
        action = agent.actor.action_normalizer({"action": batch["action"][i : i + 1]})["action"]
        heads = value_of(agent.critic, agent.actor, batch["observation"]["observation"][i : i + 1], action)
        expected = expected + sum((q - target) ** 2 for q in heads) / BATCH
    loss, _ = q_toys.critic_loss(agent, batch, draws)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_the_best_of_each_head_comes_before_the_least_of_the_heads(q_toys: Any) -> None:
    """The other order gives other numbers here, or the formula above would prove nothing."""
    agent, batch, draws = case(q_toys, "meanflow", backup_actions=4)
    with torch.no_grad():
        for parameter in agent.target.parameters():
            parameter[1] = parameter[0]
        for parameter in agent.target.layers[-1].parameters():
            parameter[1] = -parameter[0]  # what one head likes best the other likes least
    cond = agent.averaged.encode(batch["next_observation"]).repeat_interleave(4, dim=0)
    sample = agent.averaged.process.sample(agent.averaged.network, draws["next_noise"], cond)
    q = agent.target(cond.flatten(1), sample.clamp(agent.low, agent.high).flatten(1)).view(2, BATCH, 4)
    assert (q.amax(dim=2).amin(dim=0) - q.amin(dim=0).amax(dim=1)).max() > 0.01
    torch.testing.assert_close(q_toys.critic_loss(agent, batch, draws)[1]["next_q"], q.amax(dim=2).amin(dim=0).mean())


def test_returns_that_are_known_take_the_place_of_values(q_toys: Any) -> None:
    """And a quarter of them a quarter; where an episode was cut off, the critic goes on asking itself."""
    agent, batch, draws = case(q_toys, "meanflow")
    batch["return_known"] = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    for share in (1.0, 0.25):
        targets = torch.stack(backed_up(agent, batch, draws))
        known = (1 - share) * targets + share * batch["return"]
        _, metrics = q_toys.critic_loss(agent, batch, draws, share)
        torch.testing.assert_close(metrics["target"], torch.where(batch["return_known"] > 0, known, targets).mean())


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_slope_knows_no_offset_and_no_unit(q_toys: Any, offset: float) -> None:
    """Values a thousand times as large, or with a number added to all of them, pull the actor in the same way."""
    agent, batch, draws = case(q_toys, "meanflow", eta=0.7, behavior_weight=0.0, q_scale="slope", q_head="mean")
    network = list(agent.actor.network.parameters())
    before = torch.autograd.grad(q_toys.actor_loss(agent, batch, draws)[0], network, allow_unused=True)
    with torch.no_grad():
        agent.critic.layers[-1].weight.mul_(1000)
        agent.critic.layers[-1].bias.mul_(1000).add_(offset)
    after = torch.autograd.grad(q_toys.actor_loss(agent, batch, draws)[0], network, allow_unused=True)
    for one, other in zip(before, after, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("process", ["meanflow", "flow", "diffusion"])
def test_the_anchor_is_where_the_flow_sees_data(q_toys: Any, process: str) -> None:
    """Written out sample by sample; the network's own weights get no gradient for what it sees."""
    agent, batch, draws = case(q_toys, process, behavior_weight=0.0, eta=0.0, anchor=2.0)
    expected = torch.zeros(())
    for i in range(BATCH):
        seen = batch["observation"]["observation"][i : i + 1]
        chunk = act(agent.actor, seen, draws["noise"][i : i + 1], row(draws["chain"], i, 1))
        t, noise = draws["anchor_time"][i : i + 1], draws["anchor_noise"][i : i + 1]
        alpha = vp(float(t)) ** 0.5 if process == "diffusion" else 1 - float(t)
        sigma = (1 - alpha**2) ** 0.5 if process == "diffusion" else float(t)
        x = (alpha * chunk + sigma * noise).detach()
        times = torch.cat((t, torch.zeros_like(t)), dim=1) if process == "meanflow" else t
        said = agent.actor.network(x, times, agent.actor.encode({"observation": seen}))
        data = ((x - sigma * said) / alpha).clamp(-1, 1) if process == "diffusion" else x - t * said
        expected = expected + 2.0 * (chunk - data.detach()).square().mean() / BATCH
    loss, metrics = q_toys.actor_loss(agent, batch, draws)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["anchor"], expected.detach() / 2.0)
    network = list(agent.actor.network.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(loss, network, allow_unused=True, retain_graph=True),
        torch.autograd.grad(expected, network, allow_unused=True),
        strict=True,
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_a_sample_is_noised_again_at_all_times_but_the_ends(q_toys: Any) -> None:
    agent, _, _ = case(q_toys, "meanflow", anchor=1.0)
    t = draw(agent, 1000, torch.Generator().manual_seed(0))["anchor_time"]
    assert t.shape == (1000, 1)
    assert 0.1 <= t.min() < 0.15
    assert 0.85 < t.max() <= 0.9
    assert t.mean() == pytest.approx(0.5, abs=0.03)


def test_a_diffusion_is_asked_at_its_own_levels(q_toys: Any) -> None:
    agent, _, _ = case(q_toys, "diffusion", anchor=1.0)
    t = draw(agent, 200, torch.Generator().manual_seed(0))["anchor_time"]
    assert set((5 * t).round(decimals=4).flatten().tolist()) == {1.0, 2.0, 3.0, 4.0}


def test_targets_are_constants(q_toys: Any) -> None:
    agent, batch, draws = case(q_toys, "diffusion")
    loss, metrics = q_toys.critic_loss(agent, batch, draws)
    loss.backward()
    learns = {name.split(".")[0] for name, p in agent.named_parameters() if p.grad is not None and p.grad.any()}
    assert learns == {"critic"}
    assert not any(value.requires_grad for value in metrics.values())


@pytest.mark.parametrize("pooled", [{}, {"target_value": "mean", "pessimism": 0.5}], ids=["min", "pessimism"])
@pytest.mark.parametrize("expectile", [0.7, 0.2])
def test_implicit_q_learning(q_toys: Any, expectile: float, pooled: dict[str, Any]) -> None:
    agent, batch, draws = case(q_toys, "diffusion", expectile=expectile, eta=0.0, **pooled)
    assert agent.value is not None
    nothing = torch.empty(1, 0)
    with torch.no_grad():  # V in the middle of Q, so that both sides of the expectile are tried
        seen = agent.encode(batch["observation"])
        q = agent.target(seen, agent.normalized(batch["action"]).flatten(1)).amin(dim=0)
        agent.value.layers[-1].bias += (q - agent.value(seen, torch.empty(BATCH, 0))[0]).median()
    expected, signs = torch.zeros(()), set()
    for i in range(BATCH):
        here = agent.actor.encode({"observation": batch["observation"]["observation"][i : i + 1]}).flatten(1)
        there = agent.actor.encode({"observation": batch["next_observation"]["observation"][i : i + 1]}).flatten(1)
        action = agent.actor.action_normalizer({"action": batch["action"][i : i + 1]})["action"].flatten(1)
        target = batch["reward"][i] + batch["discount"][i] * agent.value(there, nothing)[0, 0].detach()
        u = as_one(list(agent.target(here, action)[:, 0]), agent.config).detach() - agent.value(here, nothing)[0, 0]
        signs.add(bool(u < 0))
        expected = expected + abs(expectile - bool(u < 0)) * u**2 / BATCH
        expected = expected + ((agent.critic(here, action)[:, 0] - target) ** 2).sum() / BATCH
    assert signs == {True, False}
    loss, _ = q_toys.critic_loss(agent, batch, draws)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    names = [name for name, _ in agent.named_parameters() if name.startswith(("critic.", "value."))]
    parameters = [dict(agent.named_parameters())[name] for name in names]
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


ACTORS: dict[str, dict[str, Any]] = {
    "one head by the other": {"q_head": "random", "q_scale": "policy"},
    "mean by the data": {"q_head": "mean", "q_scale": "data"},
    "mean by the slope": {"q_head": "mean", "q_scale": "slope"},
    "least": {"q_head": "min", "q_scale": "policy"},
    "first, unscaled": {"q_head": "first", "q_scale": "none"},
}


def climbed(agent: Agent, batch: dict[str, Any], draws: dict[str, Any]) -> tuple[Tensor, float]:
    """Mean value that the actor climbs, and what it is divided by, a plain number."""
    own: list[list[Tensor]] = []
    data: list[Tensor] = []
    slopes: list[Tensor] = []
    for i in range(BATCH):
        seen = batch["observation"]["observation"][i : i + 1]
        chunk = act(agent.actor, seen, draws["noise"][i : i + 1], row(draws["chain"], i, 1))
        own.append(value_of(agent.critic, agent.actor, seen, chunk))
        action = agent.actor.action_normalizer({"action": batch["action"][i : i + 1]})["action"]
        action.requires_grad_()
        data.append(sum(value_of(agent.critic, agent.actor, seen, action)) / 2)
        slopes.append(torch.autograd.grad(data[-1], action)[0].flatten())
    leads = int(draws["coin"])
    head = {
        "random": lambda q: (q[leads], q[1 - leads]),
        "mean": lambda q: (sum(q) / 2,) * 2,
        "min": lambda q: (min(q),) * 2,
        "first": lambda q: (q[0],) * 2,
    }[agent.config.q_head]
    scale = {
        "policy": sum(abs(float(head(q)[1].detach())) for q in own) / BATCH,
        "data": sum(abs(float(q.detach())) for q in data) / BATCH,
        "slope": sum(float(slope @ slope) for slope in slopes) ** 0.5 * (len(slopes[0]) / BATCH) ** 0.5,
        "none": 1.0,
    }[agent.config.q_scale]
    return sum(head(q)[0] for q in own) / BATCH, scale


@pytest.mark.parametrize("coin", [0.0, 1.0])
@pytest.mark.parametrize("process", OWN_PROCESSES)
@pytest.mark.parametrize("settings", ACTORS.values(), ids=ACTORS)
def test_the_actors_loss_and_its_gradient(q_toys: Any, process: str, settings: dict[str, Any], coin: float) -> None:
    agent, batch, draws = case(q_toys, process, eta=0.7, behavior_weight=0.3, **settings)
    draws["coin"] = torch.tensor(coin)
    action = agent.actor.action_normalizer({"action": batch["action"]})["action"]
    cond = agent.actor.encode(batch["observation"])
    cloning, _ = agent.actor.process.objective(agent.actor.network, action, cond, batch["mask"], draws["behavior"])
    value, scale = climbed(agent, batch, draws)
    expected = 0.3 * cloning - 0.7 * value / scale  # the scale has no gradient: it is a number
    loss, metrics = q_toys.actor_loss(agent, batch, draws)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert not any(number.requires_grad for number in metrics.values())
    parameters = list(agent.actor.parameters())
    theirs = torch.autograd.grad(expected, parameters)
    for ours, reference in zip(torch.autograd.grad(loss, parameters), theirs, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-5)


def test_the_gradient_passes_through_every_denoising_step(q_toys: Any) -> None:
    agent, batch, draws = case(q_toys, "diffusion", behavior_weight=0.0)
    outputs: list[Tensor] = []
    last: Any = agent.actor.network.get_submodule("layers")[-1]  # an unrolled loop does not call `forward`
    last.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    loss, _ = q_toys.actor_loss(agent, batch, draws)
    assert len(outputs) == 1 + 5, "one call to clone, five to act"
    gradients = torch.autograd.grad(loss, outputs[1:])
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_the_critics_judge_what_the_environment_will_get(q_toys: Any) -> None:
    agent, batch, draws = case(q_toys, "meanflow")
    seen: list[Tensor] = []
    for critic in (agent.critic, agent.target):
        critic.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[1]))
    draws["noise"], draws["next_noise"] = 9 * draws["noise"], 9 * draws["next_noise"]
    q_toys.actor_loss(agent, batch, draws)
    q_toys.critic_loss(agent, batch, draws)
    assert len(seen) == 3
    for actions in seen:
        chunks = agent.actor.action_normalizer.inverse({"action": actions.view(-1, CHUNK, 2)})["action"]
        assert chunks.abs().max() <= 1.0 + 1e-6


def test_a_student_is_taught_at_its_own_noise(q_toys: Any) -> None:
    """FQL: flow loss + alpha (student - flow clone)^2, the clone a constant inside the limits; the student is raw."""
    agent, batch, draws = case(q_toys, "flow", student=True, distill=3.0, eta=0.0)
    assert agent.teacher is not None
    action = agent.actor.action_normalizer({"action": batch["action"]})["action"]
    cond = agent.actor.encode(batch["observation"])
    flow, _ = agent.teacher.process.objective(agent.teacher.network, action, cond, batch["mask"], draws["behavior"])
    distance = torch.zeros(())
    for i in range(BATCH):
        seen, noise = batch["observation"]["observation"][i : i + 1], draws["noise"][i : i + 1]
        taught = act(agent.teacher, seen, noise, None).detach()
        own = agent.actor.process.sample(agent.actor.network, noise, cond[i : i + 1])
        distance = distance + ((own - taught) ** 2).mean() / BATCH
    loss, metrics = q_toys.actor_loss(agent, batch, draws)
    torch.testing.assert_close(loss, flow + 3.0 * distance, rtol=1e-4, atol=1e-5)
    assert not any(number.requires_grad for number in metrics.values())
    teaching = torch.autograd.grad(loss, list(agent.teacher.parameters()), retain_graph=True)
    for ours, alone in zip(teaching, torch.autograd.grad(flow, list(agent.teacher.parameters())), strict=True):
        torch.testing.assert_close(ours, alone, rtol=1e-4, atol=1e-6)  # nothing from the distance
    assert any(g.any() for g in torch.autograd.grad(loss, list(agent.actor.parameters())))


def test_a_student_climbs_by_its_own_action(q_toys: Any) -> None:
    """FQL: the critic judges what the student does, which alone moves by it; the flow clone goes on cloning."""
    agent, batch, draws = case(q_toys, "flow", True, distill=3.0, eta=0.7, q_head="mean", q_scale="policy")
    assert agent.teacher is not None
    value, scale = climbed(agent, batch, draws)
    loss, _ = q_toys.actor_loss(agent, batch, draws)
    agent.config.eta = 0.0
    taught, _ = q_toys.actor_loss(agent, batch, draws)
    torch.testing.assert_close(loss, taught - 0.7 * value / scale, rtol=1e-4, atol=1e-5)
    same_gradients(agent.teacher, loss, taught)
    same_gradients(agent.actor, loss, taught - 0.7 * value / scale)


def same_gradients(module: GenerativePolicy, loss: Tensor, expected: Tensor) -> None:
    """Two losses move a module alike, and do move it."""
    parameters = list(module.network.parameters())
    theirs = torch.autograd.grad(expected, parameters, retain_graph=True)
    assert any(gradient.abs().max() > 1e-3 for gradient in theirs)
    for ours, reference in zip(torch.autograd.grad(loss, parameters, retain_graph=True), theirs, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-5)


def test_one_call_instead_of_the_chain(q_toys: Any) -> None:
    """EDP: the action is what the cloning loss's own call sees behind the noise (Kang et al. 2023, eq. 8)."""
    agent, batch, draws = case(q_toys, "diffusion", one_call=True, q_head="first", q_scale="none", behavior_weight=0.0)
    noise, t = draws["behavior"]
    action = agent.actor.action_normalizer({"action": batch["action"]})["action"]
    cond = agent.actor.encode(batch["observation"])
    alpha, sigma = agent.actor.process.schedule.alpha_sigma(t)
    x = alpha * action + sigma * noise
    guess = ((x - sigma * agent.actor.network(x, t, cond)) / alpha).clamp(-1, 1)
    expected = -agent.critic(cond.flatten(1), guess.flatten(1))[0].mean()
    calls: list[Tensor] = []
    agent.actor.network.register_forward_hook(lambda _module, _inputs, output: calls.append(output))
    loss, _ = q_toys.actor_loss(agent, batch, draws)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert len(calls) == 1
    same_gradients(agent.actor, loss, expected)
