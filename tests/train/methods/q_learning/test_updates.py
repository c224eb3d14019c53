"""A whole update against the usual way to write it: torch's Adam and clipping, slow copies tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from laminar.train.methods.q_learning import QLearning

from ...calls import SYNCS

# Every trick shows within seven updates: clipping bites, copies start, skip updates and decay, returns end, rates fall.
VISIBLE = (
    *("method.max_grad_norm=0.05", "method.target_rate=0.1", "method.final_lr=0.1", "method.lr=3e-3"),
    "method.from_returns=4",
    *("method.ema_start=2", "method.ema_every=2", "method.ema_decay=0.7", "method.batch_size=16"),
)
UPDATES = 7


class Usual:
    """The update as the public codes write it, from the weights, batches and draws of a learner of ours."""

    def __init__(self, q_toys: Any, twin: QLearning) -> None:
        self.q_toys = q_toys
        self.twin, self.config, self.steps = twin, twin.config, twin.context.steps
        self.agent = agent = deepcopy(twin.agent).requires_grad_(True)
        self.critics = [p for m in (agent.critic, agent.value) if m is not None for p in m.parameters()]
        self.actors = [p for m in (agent.actor, agent.teacher) if m is not None for p in m.parameters()]
        self.of_critics = torch.optim.Adam(self.critics, lr=self.config.critic_lr)
        self.of_actors = torch.optim.Adam(self.actors, lr=self.config.lr)

    def update(self, step: int) -> None:
        config, agent = self.config, self.agent
        index, draws = self.twin.program.feed.draw()
        batch = self.twin.program.feed.experience.gather(index)
        cosine = config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * step / self.steps)) / 2
        self.of_critics.param_groups[0]["lr"] = config.critic_lr * cosine
        self.of_actors.param_groups[0]["lr"] = config.lr * cosine
        returns = max(0.0, 1 - step / config.from_returns)
        self.learn(lambda: self.q_toys.critic_loss(agent, batch, draws, returns)[0], self.critics, self.of_critics)
        if step % config.actor_every:
            return
        self.learn(lambda: self.q_toys.actor_loss(agent, batch, draws)[0], self.actors, self.of_actors)
        copies = list(agent.averaged.parameters())
        if step < config.ema_start:
            self.follow(copies, agent.actor, 1.0)
        elif step % config.ema_every == 0:
            self.follow(copies, agent.actor, 1 - config.ema_decay)
        self.follow(list(agent.target.parameters()), agent.critic, config.target_rate)

    def learn(self, loss: Callable[[], Tensor], parameters: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
        self.agent.zero_grad()
        loss().backward()
        if self.config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        optimizer.step()

    @torch.no_grad()
    def follow(self, slow: list[nn.Parameter], fast: nn.Module, rate: float) -> None:
        for copy, value in zip(slow, fast.parameters(), strict=True):
            copy.mul_(1 - rate).add_(value, alpha=rate)

    def state(self) -> dict[str, Tensor]:
        parts: dict[str, list[Tensor]] = {}
        for name, parameter in self.agent.named_parameters():
            parts.setdefault(name.split(".")[0], []).append(parameter.detach().flatten())
        return {part: torch.cat(values) for part, values in parts.items()}


def test_an_update_is_the_usual_one(q_toys: Any, method: str) -> None:
    ours, twin = (q_toys.learner(q_toys.random(), method, *VISIBLE, steps=UPDATES + 1) for _ in range(2))
    usual = Usual(q_toys, twin)
    before = {name: value.clone() for name, value in ours.program.state.items()}
    norms: dict[str, Tensor] = {}
    for step in range(UPDATES):
        norms |= {name: value for name, value in ours.update(step).items() if name.endswith("grad_norm")}
        usual.update(step)
    assert all(norm > 0.05 for norm in norms.values()), "or clipping had nothing to do"
    assert len(norms) == 2
    for part, expected in usual.state().items():
        found = ours.program.state[part]
        assert not torch.equal(found, before[part])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=lambda text, part=part: f"{part}: {text}")


def test_each_loss_trains_its_own_part(q_toys: Any, method: str) -> None:
    """With one of the two rates at zero nothing but the other part moves."""
    learner = q_toys.learner(q_toys.random(), method)
    state, update = learner.program.state, learner.program.function
    index, draws = learner.program.feed.draw()
    batch = learner.program.feed.experience.gather(index)

    def moved(lr: float, critic_lr: float) -> set[str]:
        before = {part: state[part].clone() for part in actors | critics}
        update(state, batch, draws, (lr, critic_lr, 0.0, 1.0, 0.0), True)
        return {part for part, value in before.items() if not torch.equal(state[part], value)}

    actors, critics = {"actor", "teacher"} & state.keys(), {"critic", "value"} & state.keys()
    assert moved(0.01, 0.0) == actors
    assert moved(0.0, 0.01) == critics


def test_the_critics_weight_grows(q_toys: Any) -> None:
    learner = q_toys.learner(q_toys.random(), "ofql", "method.eta=8", "method.eta_ramp=0.5", steps=8)
    assert [learner._rates(step)[0][3] for step in range(8)] == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 8.0, 8.0]
    plain = q_toys.learner(q_toys.random(), "ofql", "method.eta=8")
    assert {plain._rates(step)[0][3] for step in range(8)} == {8.0}


def test_the_weight_of_the_update_is_the_one_that_counts(q_toys: Any) -> None:
    """Half of eta = 8 moves the actor as eta = 4 does, and not as 8."""
    half = q_toys.learner(q_toys.random(), "ofql", "method.eta=8", "method.eta_ramp=1", steps=2)
    four, eight = (q_toys.learner(q_toys.random(), "ofql", f"method.eta={eta}") for eta in (4, 8))
    for learner in (half, four, eight):
        learner.update(0)
    assert torch.equal(half.program.state["actor"], four.program.state["actor"])
    assert not torch.equal(half.program.state["actor"], eight.program.state["actor"])


def test_a_delayed_actor_waits_and_so_do_the_copies(q_toys: Any) -> None:
    learner = q_toys.learner(q_toys.random(), "td3bc", "method.actor_every=3")
    moved = []
    for step in range(6):
        before = {part: learner.program.state[part].clone() for part in ("actor", "averaged", "target", "critic")}
        learner.update(step)
        moved.append({part for part, value in before.items() if not torch.equal(value, learner.program.state[part])})
    everything = {"actor", "averaged", "target", "critic"}
    assert moved == [everything, {"critic"}, {"critic"}] * 2


def test_rewards_are_tuned_in_training_alone(q_toys: Any) -> None:
    episodes = q_toys.random()
    raw = episodes.reward.copy()
    plain = q_toys.learner(episodes, "dql")
    tuned = q_toys.learner(episodes, "dql", "method.reward=antmaze_minus_one")
    index = torch.arange(len(plain.transitions))
    difference = plain.transitions.gather(index)["reward"] - tuned.transitions.gather(index)["reward"]
    torch.testing.assert_close(difference, torch.ones(len(index)))
    assert (episodes.reward == raw).all()


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_share_of_the_cloning_is_at_the_one_call_that_acts(q_toys: Any, share: float) -> None:
    learner = q_toys.learner(q_toys.random(), "ofql", f"policy.process.one_step_share={share}")
    _, draws = learner.program.feed.draw()
    _, t, r = draws["behavior"]
    assert ((t == 1) & (r == 0)).float().mean() == share


class Syncs(TorchDispatchMode):
    """Remembers the operators that ran, those of the backward pass included."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_an_update_never_waits_for_the_device(q_toys: Any, method: str) -> None:
    learner = q_toys.learner(q_toys.random(), method)
    learner.update(0)  # the first one may set things up
    with Syncs() as syncs:
        for step in range(2):
            learner.update(step)
    assert any("backward" in name for name in syncs.names), "the backward pass was not seen"
    assert not SYNCS & syncs.names


@pytest.mark.slow
def test_a_compiled_update_is_the_eager_one(q_toys: Any, method: str) -> None:
    torch._dynamo.reset()
    words = tuple(word for word in VISIBLE if "lr=3e-3" not in word)
    eager, compiled = (q_toys.learner(q_toys.random(), method, *words, compiled=flag) for flag in (False, True))
    for step in range(3):
        expected, found = eager.update(step), compiled.update(step)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    for part, value in eager.program.state.items():
        torch.testing.assert_close(compiled.program.state[part], value, rtol=1e-5, atol=1e-5)
