"""What a method loses without a sound: the settings that make it what it is, and the randomness its losses get.

The losses themselves are held against the papers' formulas in test_losses.py, the update in test_updates.py.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.configs.compose import compose
from laminar.data.spec import Feature
from laminar.data.transitions import Transitions
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.critics import CriticConfig, EnsembleLinear
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes.direct import Config as DirectConfig
from laminar.train.methods.q_learning import Config
from laminar.train.methods.q_learning.agent import Agent
from laminar.train.methods.q_learning.draws import draw

CRITIC = {"width": 256, "depth": 3, "heads": 2, "activation": "mish", "layer_norm": False, "scale": 1.0, "offset": 0.0}
# Wang et al. 2023 and their code; the other methods tell how they differ.
DQL: dict[str, Any] = {
    **{"batch_size": 256, "lr": 3e-4, "critic_lr": 3e-4, "discount": 0.99, "final_lr": 1.0, "max_grad_norm": None},
    **{"critic": CRITIC, "target_rate": 0.005, "target_value": "min", "pessimism": 0.0, "backup_actions": 1},
    **{"n_step": 1, "from_returns": 0, "target_noise": 0.0, "target_penalty": 0.0, "expectile": None, "reward": "none"},
    **{"eta": 1.0, "q_head": "random", "q_scale": "policy", "behavior_weight": 1.0, "anchor": 0.0, "distill": 0.0},
    **{"one_call": False, "actor_every": 1, "ema_decay": 0.995, "ema_every": 5, "ema_start": 1000},
}
TD3 = {
    **{"target_noise": 0.2, "target_noise_clip": 0.5, "actor_every": 2},
    **{"ema_decay": 0.995, "ema_every": 1, "ema_start": 0},  # the target actor follows like the target critic
}
RECIPES: dict[str, dict[str, Any]] = {
    "dql": DQL,
    # the paper gives no settings; ours
    "ofql": DQL
    | {
        "critic": CRITIC | {"layer_norm": True, "scale": None},
        "lr": 1e-3,
        "expectile": 0.9,
        "n_step": 5,
        "from_returns": 3000,
        "q_head": "mean",
    }
    | {"q_scale": "slope", "eta": 0.3, "anchor": 3.0},
    # Park et al. 2025: mean of the heads in both losses, no slow actor, layer norm in the critic
    "fql": DQL
    | {"critic": CRITIC | {"activation": "gelu", "layer_norm": True}, "target_value": "mean", "q_head": "mean"}
    | {"distill": 1.0, "ema_decay": 0.0, "ema_every": 1, "ema_start": 0},
    # Hansen-Estruch et al. 2023: the actor clones
    "iql": DQL | {"expectile": 0.7, "eta": 0.0, "ema_decay": 0.9999, "ema_every": 1},
    # Li and Levine 2026 (their IFQL), Li et al. 2025
    "ifql": DQL
    | {"critic": CRITIC | {"activation": "gelu", "layer_norm": True, "heads": 10}, "expectile": 0.9, "eta": 0.0}
    | {"target_value": "mean", "pessimism": 0.5, "q_head": "mean", "ema_decay": 0.0, "ema_every": 1, "ema_start": 0},
    "qc": DQL
    | {"critic": CRITIC | {"activation": "gelu", "layer_norm": True}, "target_value": "mean", "q_head": "mean"}
    | {"backup_actions": 32, "backup_best": "critic", "eta": 0.0, "ema_decay": 0.0, "ema_every": 1, "ema_start": 0},
    # Tarasov et al. 2023
    "rebrac": DQL
    | TD3
    | {"critic": CRITIC | {"activation": "relu", "layer_norm": True}, "target_penalty": 0.01, "behavior_weight": 0.3}
    | {"q_head": "min", "batch_size": 1024, "lr": 1e-3, "critic_lr": 1e-3},
    # Fujimoto and Gu 2021
    "td3bc": DQL | TD3 | {"critic": CRITIC | {"activation": "relu", "depth": 2}, "eta": 2.5, "q_head": "first"},
}
VP = {"name": "diffusion", "schedule": "vp", "levels": 5, "steps": 5, "solver": "ddpm", "prediction": "epsilon"}
PROCESSES: dict[str, tuple[dict[str, Any], str]] = {  # and the actor's activation
    "dql": (VP | {"clip": 1.0}, "mish"),
    "ofql": (
        {"name": "meanflow", "steps": 1, "flow_ratio": 0.5, "one_step_share": 0.1, "adaptive_power": 0.0},
        "mish",
    ),
    "fql": ({"name": "flow", "steps": 10, "solver": "euler"}, "gelu"),
    "iql": (VP | {"clip": 1.0}, "mish"),
    "ifql": ({"name": "flow", "steps": 10, "solver": "euler"}, "gelu"),
    "qc": ({"name": "flow", "steps": 10, "solver": "euler"}, "gelu"),
    "rebrac": ({"name": "direct", "noise": False, "squash": True}, "relu"),
    "td3bc": ({"name": "direct", "noise": False, "squash": True}, "relu"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_that_of_its_paper(recipe: str) -> None:
    config = compose("train", [f"method={recipe}"])
    found, process = asdict(config.method), asdict(config.policy.process)
    assert {name: found[name] for name in RECIPES[recipe]} == RECIPES[recipe]
    expected, activation = PROCESSES[recipe]
    assert {name: process[name] for name in expected} == expected
    assert config.network.activation == activation


def rows(noise: Tensor) -> Tensor:
    """One action's noise a row."""
    return noise.reshape(-1, noise.shape[-1])


@pytest.fixture(scope="module")
def draws(q_toys: Any) -> dict[str, Any]:
    """The draws of an update in which every kind of noise is used."""
    words = ("method.batch_size=256", "method.backup_actions=10", "method.target_noise=0.2")
    _, found = q_toys.learner(q_toys.random(), "dql", *words).program.feed.draw()
    return found


@pytest.mark.parametrize("kind", ["noise", "next_noise", "chain", "next_chain", "smoothing", "behavior"])
def test_noise_is_standard_normal(draws: dict[str, Any], kind: str) -> None:
    """And no two actions share it: ten candidates of a backup with one noise would be one candidate."""
    noise = rows(draws["behavior"][0] if kind == "behavior" else draws[kind])
    sizes = {
        "noise": 256,
        "behavior": 256,
        "next_noise": 2560,
        "smoothing": 2560,
        "chain": 4 * 256,
        "next_chain": 10240,
    }
    assert noise.shape == (sizes[kind], 2)
    assert len(noise.unique(dim=0)) == len(noise)
    within = torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    shares = (noise.abs() < within).float().mean(dim=(1, 2))
    # four standard deviations of a share from N numbers are at most 2 / sqrt(N)
    torch.testing.assert_close(shares, torch.tensor([0.3829, 0.6827, 0.9545]), rtol=0, atol=2 / noise.numel() ** 0.5)


def test_no_noise_is_used_twice(draws: dict[str, Any]) -> None:
    """The target's actions are drawn apart from the actor's, and both from what the cloning sees."""
    kinds = [draws["behavior"][0], *(draws[k] for k in ("noise", "next_noise", "chain", "next_chain", "smoothing"))]
    together = torch.cat([rows(noise) for noise in kinds])
    assert len(together.unique(dim=0)) == len(together)


def test_the_heads_take_turns(q_toys: Any) -> None:
    """A fair coin an update says which head leads and which one scales (DQL's code)."""
    agent, generator = q_toys.learner(q_toys.random(), "dql").agent, torch.Generator().manual_seed(0)
    coins = torch.stack([draw(agent, 2, generator)["coin"] for _ in range(400)])
    assert set(coins.tolist()) == {0.0, 1.0}
    assert 160 < coins.sum() < 240, "four standard deviations are 40"


def test_the_slow_copies_begin_as_copies(q_toys: Any, method: str) -> None:
    """A target critic with weights of its own would teach another random function for 1 / rate updates."""
    state = q_toys.learner(q_toys.random(), method).program.state
    assert torch.equal(state["target"], state["critic"])
    assert torch.equal(state["averaged"], state["actor"])


def test_what_is_deployed_are_the_slow_copies(q_toys: Any, method: str) -> None:
    slow = ("method.ema_decay=0.9", "method.ema_every=1", "method.ema_start=0", "method.actor_every=1")
    learner = q_toys.learner(q_toys.random(), method, *slow)
    for step in range(2):
        learner.update(step)
    policy, state = learner.product(), learner.program.state
    assert policy.critic is not None
    for deployed, copy, fast in ((policy.composed_of, "averaged", "actor"), (policy.critic, "target", "critic")):
        weights = torch.cat([parameter.detach().flatten() for parameter in deployed.parameters()])
        assert torch.equal(weights, state[copy])
        assert not torch.equal(state[copy], state[fast])


def test_the_encoder_learns_from_actions_alone(q_toys: Any) -> None:
    """It must not learn to show the critics states that they like: there is no gradient through their first input."""
    episodes = q_toys.random()
    spec = replace(episodes.spec, observation={"instruction": Feature((3,))})
    renamed = {
        "observation": {"instruction": episodes.observation["observation"]},
        "final_observation": {"instruction": episodes.final_observation["observation"]},
    }
    instructed = replace(episodes, spec=spec, **renamed)
    torch.manual_seed(0)
    policy = GenerativePolicy.build(PolicyConfig(process=DirectConfig()), MLPConfig(width=16, depth=1), instructed)
    config = Config(critic=CriticConfig(width=16), behavior_weight=0.0, q_scale="none", encoder="actor")
    agent = Agent(policy, config)
    batch = Transitions(instructed).sample(8, torch.Generator().manual_seed(0))
    inputs = draw(agent, 8, torch.Generator().manual_seed(1))
    encoder = list(agent.actor.encoder.parameters())

    def gradients(loss: Tensor) -> list[Tensor | None]:
        return list(torch.autograd.grad(loss, encoder, allow_unused=True))

    assert encoder
    assert all(g is None for g in gradients(q_toys.critic_loss(agent, batch, inputs)[0]))
    assert any(g is not None and g.any() for g in gradients(q_toys.actor_loss(agent, batch, inputs)[0]))
    with torch.no_grad():
        agent.critic.layers[0].weight[:, -2:] = 0.0  # now Q depends on the state alone
    assert all(g is None or not g.any() for g in gradients(q_toys.actor_loss(agent, batch, inputs)[0]))


def test_twin_critics_begin_as_two(q_toys: Any) -> None:
    """Alike they would stay alike, and the least of both would be the only one."""
    critic = q_toys.learner(q_toys.random(), "ofql").agent.critic
    values = critic(torch.zeros(4, 3), torch.zeros(4, 2))
    assert (values[0] != values[1]).all()
    linear = [layer for layer in critic.modules() if isinstance(layer, EnsembleLinear)]
    assert len(linear) == 4
    assert all((parameter[0] != parameter[1]).any() for layer in linear for parameter in layer.parameters())


def test_a_critic_lies_where_the_recorded_returns_lie(q_toys: Any) -> None:
    """Its values are in the rewards' own units all the same, and the policy that is saved knows the numbers."""
    learner = q_toys.learner(q_toys.random(), "ofql", "method.critic.offset=null")
    critic, returns = learner.agent.critic, learner.transitions.returns
    offset, scale = returns.mean(), returns.std(correction=0)
    assert 0 < scale != 1
    assert critic.config.scale == pytest.approx(float(scale), rel=1e-5)
    assert critic.config.offset == pytest.approx(float(offset), rel=1e-5)
    saved = learner.product().config["critic"]
    assert (saved["scale"], saved["offset"]) == (critic.config.scale, critic.config.offset)
    one = q_toys.learner(q_toys.random(), "ofql", "method.critic.scale=1").agent.critic
    state, action = torch.randn(4, 3), torch.randn(4, 2)
    torch.testing.assert_close(critic(state, action), scale * one(state, action) + offset)
    around_zero = q_toys.learner(q_toys.random(), "ofql").agent.critic.config
    assert around_zero.scale == pytest.approx(float(returns.square().mean().sqrt()), rel=1e-5)


def narrowed(q_toys: Any, *words: str) -> tuple[Agent, dict[str, Any], dict[str, Any]]:
    """An agent whose actions nearly all lie beyond the limits, a batch and draws."""
    learner = q_toys.learner(q_toys.random(), *words)
    learner.agent.low.fill_(-0.01)
    learner.agent.high.fill_(0.01)
    index, inputs = learner.program.feed.draw()
    return learner.agent, learner.program.feed.experience.gather(index), inputs


def test_an_estimated_action_is_judged_inside_the_limits(q_toys: Any) -> None:
    """EDP's estimate from a noised action, like a sample."""
    agent, batch, inputs = narrowed(q_toys, "dql", "method.one_call=true")
    seen: list[Tensor] = []
    agent.critic.register_forward_hook(lambda _module, given, _output: seen.append(given[1]))
    q_toys.actor_loss(agent, batch, inputs)
    assert len(seen) == 1
    assert seen[0].abs().max() == torch.tensor(0.01)


def test_a_student_beyond_the_limits_is_drawn_back(q_toys: Any) -> None:
    """FQL's distance is from the clipped teacher to the student as it is: clipped too, it would have no gradient."""
    agent, batch, inputs = narrowed(q_toys, "fql")
    assert agent.teacher is not None
    cond, noise = agent.actor.encode(batch["observation"]), inputs["noise"]
    own = agent.actor.process.sample(agent.actor.network, noise, cond)
    taught = agent.teacher.process.sample(agent.teacher.network, noise, cond).clamp(-0.01, 0.01)
    assert own.abs().max() > 0.02
    _, metrics = q_toys.actor_loss(agent, batch, inputs)
    torch.testing.assert_close(metrics["distillation"], (own - taught).square().mean())


@pytest.mark.parametrize("scale", ["policy", "data", "slope"])
def test_a_critic_of_zeros_has_no_scale(q_toys: Any, scale: str) -> None:
    learner = q_toys.learner(q_toys.random(), "ofql", f"method.q_scale={scale}", "method.anchor=0")
    with torch.no_grad():
        for parameter in learner.agent.critic.layers[-1].parameters():
            parameter.zero_()
    index, inputs = learner.program.feed.draw()
    loss, metrics = q_toys.actor_loss(learner.agent, learner.program.feed.experience.gather(index), inputs)
    torch.testing.assert_close(loss, metrics["behavior_loss"], rtol=0, atol=0)


def test_over_estimation_counts_only_returns_that_are_known(q_toys: Any) -> None:
    """A truncated episode's return leaves out what came after, so a right critic would look too high there."""
    learner = q_toys.learner(q_toys.random(), "ofql")
    index, inputs = learner.program.feed.draw()
    batch = learner.program.feed.experience.gather(index)
    known = batch["return_known"] > 0
    assert 0 < known.sum() < len(known)
    _, metrics = q_toys.critic_loss(learner.agent, batch, inputs)
    agent = learner.agent
    q = agent.critic(agent.encode(batch["observation"]), agent.normalized(batch["action"]).flatten(1)).mean(dim=0)
    torch.testing.assert_close(metrics["q_minus_return"], (q - batch["return"])[known].mean())
