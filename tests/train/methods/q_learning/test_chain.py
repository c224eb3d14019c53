"""A chain of three states whose values are known exactly: the end of the task, the end of the recording, n steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

GAMMA = 0.5
REWARDS = (1.0, -2.0, 3.0)
FAST = (
    *("method.eta=0", f"method.discount={GAMMA}", "method.critic_lr=0.01", "method.target_rate=0.5"),
    *(
        "method.final_lr=0.02",
        "method.target_noise=0",
        "method.actor_every=1",
        "policy.observation_normalizer=identity",
    ),
)


def chain(q_toys: Any, terminated: bool) -> Any:
    """Forty times round, with random actions that change nothing."""
    rounds = 40
    one_hot = np.eye(3, dtype=np.float32)
    return q_toys.episodes(
        observation=np.tile(one_hot, (rounds, 1)),
        action=np.random.default_rng(0).uniform(-1, 1, (3 * rounds, 1)),
        reward=np.tile(REWARDS, rounds),
        terminated=np.tile([False, False, terminated], rounds),
        ends=np.arange(3, 3 * rounds + 1, 3),
        final_observation=np.tile(one_hot[:1], (rounds, 1)),
    )


def learned_values(q_toys: Any, terminated: bool, *words: str) -> torch.Tensor:
    """Mean of Q(s, a) over the actions of the data, for each state and head: (2, 3)."""
    episodes = chain(q_toys, terminated)
    steps = 300
    learner = q_toys.learner(episodes, "td3bc", *FAST, *words, steps=steps)
    for step in range(steps):
        learner.update(step)
    width = learner.product().spec.chunk
    states = torch.eye(3).repeat_interleave(20, dim=0)
    actions = torch.rand(60, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return learner.agent.target(states, actions).view(2, 3, 20).mean(dim=2)


def exact(terminated: bool) -> torch.Tensor:
    """Solve Q = r + γ P Q, where s0 follows s2: after a truncation the rider would have gone round and round."""
    after = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0 if terminated else 1.0, 0.0, 0.0]])
    return torch.linalg.solve(torch.eye(3) - GAMMA * after, torch.tensor(REWARDS))


def test_the_values_by_hand() -> None:
    torch.testing.assert_close(exact(terminated=True), torch.tensor([0.75, -0.5, 3.0]))
    torch.testing.assert_close(exact(terminated=False), torch.tensor([0.75, -0.25, 3.0]) / (1 - GAMMA**3))
    assert (exact(True) - exact(False)).abs().min() > 0.1, "or one could pass for the other"


@pytest.mark.parametrize("words", [(), ("method.n_step=2",)], ids=["one step", "two steps"])
@pytest.mark.parametrize("terminated", [True, False], ids=["terminated", "truncated"])
def test_the_critic_finds_them(q_toys: Any, terminated: bool, words: tuple[str, ...]) -> None:
    values = learned_values(q_toys, terminated, *words)
    torch.testing.assert_close(values, exact(terminated).expand(2, 3), rtol=0, atol=0.04)


@pytest.mark.parametrize(
    ("n_step", "discounts"), [(1, (0.5, 0.5, 0.5)), (2, (0.25, 0.25, 0.5)), (5, (0.125, 0.25, 0.5))]
)
def test_targets_have_the_length_that_was_asked_for(q_toys: Any, n_step: int, discounts: tuple[float, ...]) -> None:
    """γ^h with h the steps to the bootstrapped value, fewer before an end: values alone would not tell."""
    learner = q_toys.learner(chain(q_toys, terminated=False), "td3bc", *FAST, f"method.n_step={n_step}")
    batch = learner.transitions.gather(torch.arange(3))
    torch.testing.assert_close(batch["discount"], torch.tensor(discounts))


def test_targets_of_every_length_agree(q_toys: Any) -> None:
    """At the exact values, the targets of 1, 2, 3 and 5 steps, and of chunks, are those values: γ^h on the last."""
    for terminated in (True, False):
        for words in ((), *((f"method.n_step={n}",) for n in (2, 3, 5)), ("policy.chunk=2", "policy.execute=2")):
            learner = q_toys.learner(chain(q_toys, terminated), "td3bc", *FAST, *words)
            batch = learner.transitions.gather(torch.arange(len(learner.transitions)))
            values = exact(terminated)
            target = batch["reward"] + batch["discount"] * (batch["next_observation"]["observation"][:, -1] @ values)
            torch.testing.assert_close(target, batch["observation"]["observation"][:, -1] @ values)
            known = batch["return_known"] > 0
            assert bool(known.any()) == terminated
            torch.testing.assert_close(batch["return"][known], target[known])
