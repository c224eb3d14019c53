"""An update of steering is one function of tensors: nothing waits for the device, nothing lies on another one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from laminar.train.update import adam
from laminar.train.update import learner as learners
from laminar.train.update.learner import Learner

from ...calls import SYNCS, Calls

KINDS = pytest.mark.parametrize(
    "words",
    [
        (),
        ("method.edit_scale=0.2", "method.candidates=4"),
        ("method.steer=false", "method.edit_scale=0.2", "method.n_step=3"),
        ("method.repeated=true", "method.entropy_backup=true", "method.prior=0.1", "method.critic.heads=4"),
        ("method.actor_rate=0.1",),
    ],
    ids=" ".join,
)


@KINDS
def test_an_update_never_waits_for_the_device(build: Any, words: tuple[str, ...]) -> None:
    improver = build(*words)
    improver.collect(0)
    with Calls() as calls:
        improver.update(0)
    assert calls.count["mm"] + calls.count["addmm"] > 0, "nothing was counted"
    assert not SYNCS & set(calls.count)


@KINDS
@pytest.mark.parametrize("way", ["eager", "functional"])
def test_an_update_stays_on_its_device(
    build: Any, words: tuple[str, ...], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On "meta", which refuses tensors of another device, and any branch on data too; those cannot be captured."""
    for module in (adam, learners):
        monkeypatch.setattr(module, "transformed", lambda: way == "functional")
    monkeypatch.setattr(adam, "_fused", lambda *_: None)  # knows no "meta"; its buffers are those of the formulas
    improver = build(*words)
    improver.collect(0)

    def away(leaf: Any) -> Any:
        return leaf.to("meta") if isinstance(leaf, Tensor) else leaf

    program = improver.program
    index, draws = program.feed.draw()
    state, batch, draws = tree_map(away, (program.state, program.feed.experience.gather(index), draws))
    improver.learner = Learner(improver.agent.to("meta"), improver.agent.part_of)
    improver.learner.bind(state)
    metrics = program.function(state, batch, draws, torch.zeros(1, device="meta"), True)
    assert all(value.device.type == "meta" for value in (*state.values(), *metrics.values()))


def test_the_average_acts_and_is_saved(build: Any) -> None:
    """slow <- (1 - rate) slow + rate learned after each update; the learned one is what climbs, and is resumed from."""
    improver = build("method.actor_rate=0.25", "method.actor_start=0")
    agent, slow = improver.agent, None
    for step in range(4):
        improver.collect(step)
        before = [value.clone() for value in agent.steered.noise_actor.parameters()]
        improver.update(step)
        learned, slow = list(agent.actor.parameters()), list(agent.steered.noise_actor.parameters())
        for was, now, new in zip(before, slow, learned, strict=True):
            torch.testing.assert_close(now, 0.75 * was + 0.25 * new)
    assert not torch.equal(agent.actor.head.weight, agent.steered.noise_actor.head.weight)
    assert "actor" in improver.state()
    assert "slow_actor" not in improver.state(), "the product has it"
    alone = build("method.actor_rate=1", "method.actor_start=0")
    assert alone.agent.actor is alone.agent.steered.noise_actor
    assert "actor" not in alone.state()


@torch.no_grad()
def test_before_anything_is_learned_edits_are_noise(build: Any) -> None:
    """A critic that has seen no edits says of them what it likes."""
    improver = build("method.edit_scale=0.3", "method.warm_up=400", "env.steps=500")
    explorer, actions = improver.collector.explorer, improver.collector.explorer.editor.action_dim
    assert (explorer.share, explorer.editor.scale) == (0.5, 0.3)
    assert explorer.base is improver.agent.base
    inputs = explorer.editor.layers[0].in_features - actions
    edits = explorer.editor(torch.zeros(2000, inputs), torch.zeros(2000, actions), torch.randn(2000, actions))
    assert edits.abs().max().item() == pytest.approx(0.3)
    assert edits.std().item() > 0.15
    alone = build("method.warm_up=400", "env.steps=500")
    assert alone.collector.explorer is alone.agent.base
