"""Q-learning on what a camera sees: one encoder, which the critic trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature
from laminar.policies.generative import GenerativePolicy

SMALL = ("policy.encoder=tiny", "policy.augment.shift=2", "policy.history=2", "method.batch_size=8")


@pytest.fixture(scope="module")
def pictured(q_toys: Any) -> Episodes:
    """Episodes of a state and a camera of 32 x 32 pixels."""
    plain = q_toys.random()
    pixels = np.random.default_rng(0).integers(0, 256, (len(plain), 32, 32, 3), dtype=np.uint8)
    return replace(
        plain,
        observation={**plain.observation, "rgb": pixels},
        final_observation={**plain.final_observation, "rgb": pixels[plain.ends - 1]},
        spec=replace(plain.spec, observation={**plain.spec.observation, "rgb": Feature((32, 32, 3), "uint8")}),
    )


def encodings(policy: GenerativePolicy) -> list[Tensor]:
    """Return a list to which everything is added that the policy's encoder gives from now on."""
    found: list[Tensor] = []
    policy.encoder.register_forward_hook(lambda _module, _given, output: found.append(output))
    return found


def test_every_method_learns_from_pictures(q_toys: Any, method: str, pictured: Episodes) -> None:
    learner = q_toys.learner(pictured, method, *SMALL)
    before = {name: value.clone() for name, value in learner.program.state.items()}
    for step in range(2):
        metrics = learner.update(step)
        assert all(value.isfinite().all() for value in metrics.values())
        assert all(value.ndim == 0 for value in metrics.values()), "more than a metric came out"
    state = learner.program.state
    assert {"encoder", "averaged_encoder"} <= state.keys()
    assert not torch.equal(state["encoder"], before["encoder"])
    policy = learner.product()
    seen = {key: torch.from_numpy(value[None, :2]) for key, value in pictured.observation.items()}
    chunk = policy.sample(seen, torch.zeros(1, *policy.noise_shape))
    assert chunk.isfinite().all()


@pytest.mark.parametrize(
    ("recipe", "online", "averaged"), [("ofql", 2, 0), ("dql", 1, 1), ("fql", 1, 1), ("iql", 2, 0)]
)
def test_an_update_encodes_each_picture_once(
    q_toys: Any, recipe: str, online: int, averaged: int, pictured: Episodes
) -> None:
    """This moment's by the online encoder, the next one's by the slow copy; V(s') of IQL and OFQL is the online's."""
    learner = q_toys.learner(pictured, recipe, *SMALL)
    now, after = encodings(learner.agent.actor), encodings(learner.agent.averaged)
    learner.update(0)
    assert (len(now), len(after)) == (online, averaged)


@pytest.mark.parametrize("whose", ["critic", "actor"])
def test_one_of_both_gradients_trains_the_encoder(q_toys: Any, whose: str, pictured: Episodes) -> None:
    """Of two updates one is the critic's alone; with the actor at rest the other one's encoder is the same."""
    words = (*SMALL, f"method.encoder={whose}", "method.actor_every=2")
    learner, resting = (q_toys.learner(pictured, "ofql", *words, *more) for more in ((), ("method.lr=1e-30",)))
    before = {name: learner.program.state[name].clone() for name in ("encoder", "actor", "critic")}
    learner.update(1)
    critic_alone = learner.program.state["encoder"].clone()
    assert torch.equal(critic_alone, before["encoder"]) == (whose == "actor")
    learner.update(2)
    for step in (1, 2):
        resting.update(step)
    assert not torch.equal(learner.program.state["encoder"], critic_alone)
    assert not torch.equal(learner.program.state["actor"], before["actor"])
    assert not torch.equal(learner.program.state["critic"], before["critic"])
    same = torch.allclose(resting.program.state["encoder"], learner.program.state["encoder"], rtol=0, atol=0)
    assert same == (whose == "critic"), "the actor's gradient came through"


def test_pictures_are_changed_for_both_ends_of_a_transition(q_toys: Any, pictured: Episodes) -> None:
    learner = q_toys.learner(pictured, "ofql", *SMALL)
    _, draws = learner.program.feed.draw()
    assert draws["look"].shape == draws["next_look"].shape == (8, 1, 5)
    assert not torch.equal(draws["look"], draws["next_look"])
    assert "look" not in q_toys.learner(pictured, "ofql", *SMALL[:1], "policy.augment.shift=0").program.feed.draw()[1]
