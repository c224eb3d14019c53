"""What the public code of diffusion steering does wrong, and what must not come back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.train.methods.steering import Steering
from laminar.train.methods.steering.losses import noise_critic_loss, proposals


class Spy:
    """Notes each call of the base's `decode`, and of its network."""

    def __init__(self, improver: Steering, monkeypatch: pytest.MonkeyPatch) -> None:
        base: Any = improver.agent.base
        self.noises: list[Tensor] = []
        self.networks = 0
        decode = base.decode

        def noted(cond: Tensor, noise: Tensor, *others: Any) -> Tensor:
            self.noises.append(noise.clone())
            return decode(cond, noise, *others)

        monkeypatch.setattr(base, "decode", noted)
        base.network.register_forward_hook(lambda *_: setattr(self, "networks", self.networks + 1))


def test_warm_up_denoises_once_from_standard_noise(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the first actions are denoised, taken for noise, and denoised again."""
    improver = build("method.warm_up=600", "env.steps=700", "env.slots=3", "method.noise_bound=0.5")
    spy = Spy(improver, monkeypatch)
    decisions = 0
    while improver.collector.interaction.steps < 600:
        improver.collector.interaction.step(improver.collector.decide)
        decisions += 1
    assert len(spy.noises) == decisions
    assert spy.networks == 2 * decisions, "two steps of the solver, once a decision"
    noise = torch.cat(spy.noises)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.1)
    assert noise.std().item() == pytest.approx(1.0, abs=0.06), "all of N(0, I), whatever the actor's bound"
    assert noise.abs().max() > 2.0


@pytest.mark.parametrize("bound", [0.3, 1.0])
def test_the_bound_holds_in_acting_and_in_learning(build: Any, bound: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the critic of noises learns on N(0, I), most of which the actor cannot choose."""
    improver = build(f"method.noise_bound={bound}", "method.on_policy=0.25", "method.batch_size=64")
    for step in range(5):  # the actor has moved
        improver.collect(step)
        improver.update(step)
    agent, spy = improver.agent, Spy(improver, monkeypatch)
    while improver.collector.interaction.steps < 60:
        improver.collector.interaction.step(improver.collector.decide)
    assert torch.cat(spy.noises).abs().max() <= bound
    index, draws = improver._draw()  # pyright: ignore[reportPrivateUsage]
    batch, seen = improver.executed.gather(index), []
    agent.noise_critic.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    noise_critic_loss(agent, batch, *proposals(agent, batch, draws))
    assert seen[0].abs().max() <= bound
    assert draws["prior"].abs().max() > bound, "the test could fail"


def test_a_chunk_stops_where_its_episode_does(build: Any) -> None:
    """There the rest of a chunk is executed after `done`, in an episode that is over or in the next one."""
    improver = build(arguments="terminal=5")
    rows = [improver.collector.interaction.step(improver.collector.decide) for _ in range(3)]
    assert [int(row["steps"][0]) for row in rows] == [2, 2, 1]
    assert [bool(row["terminated"][0]) for row in rows] == [False, False, True]
    last = rows[-1]
    assert last["reward"].item() == pytest.approx(last["action"][0, 0, 0].item(), abs=1e-6)
    assert last["next_observation"]["observation"][0, 0, 0].item() == 5.0, "of this episode, not of the next one"
    assert improver.collector.interaction.seen["observation"][0, 0, 0].item() == 0.0


@pytest.mark.parametrize(("arguments", "left"), [("limit=5", 1.0), ("terminal=5", 0.0), ("limit=5&terminal=5", 0.0)])
@pytest.mark.parametrize("n_step", [1, 3])
def test_time_limits_are_bootstrapped(build: Any, arguments: str, left: float, n_step: int) -> None:
    """There a time limit counts as a terminal, so that a robot that is slow learns that it has died."""
    improver = build(f"method.n_step={n_step}", arguments=arguments)
    improver.collect(0)
    rows = improver.executed.gather(torch.arange(3))  # the chunks of the first episode
    steps = [2, 2, 1] if n_step == 1 else [5, 3, 1]
    behind = [1.0, 1.0, left] if n_step == 1 else [left] * 3
    wanted = [0.99**k * value for k, value in zip(steps, behind, strict=True)]
    assert rows["discount"].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("execute", [1, 2, 4])
def test_steps_are_control_steps(toy: Any, build: Any, execute: int) -> None:
    """There a chunk counts as one step, so that curves of longer chunks look better."""
    improver = build(base=toy.save(name="other", execute=execute), arguments="limit=6")
    taken = 0
    while improver.collector.interaction.steps < 30:
        row = improver.collector.interaction.step(improver.collector.decide)
        taken += int(row["steps"].sum())
        assert int(row["steps"].max()) <= execute
    assert improver.collector.interaction.steps == taken == 30
    assert improver.figures()["episodes"].item() == 5
