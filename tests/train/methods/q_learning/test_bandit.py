"""Two modes of action, the better one rarer: the critic chooses between them, the behavior keeps to what the data do.

One state and one action that ends the episode. The mean of the data lies in the empty middle, where a regression goes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

PULLS, WORSE_SHARE = 2000, 0.6
CENTER, RADIUS = 0.5, 0.35  # discs around -(CENTER, CENTER), worth 0, and (CENTER, CENTER), worth 1
NEAR = 0.1  # to the nearest recorded action; the middle of the gap has 0.35 to either disc
FAST = (
    *("network.width=64", "method.batch_size=128", "method.lr=0.01", "method.critic_lr=0.01"),
    *("method.final_lr=0.1", "method.ema_start=0", "method.ema_every=1", "method.ema_decay=0.98"),
)
RECIPES = {
    "dql": ("dql", "method.eta=2"),
    "edp": ("dql", "method.one_call=true", "method.eta=3"),
    "ofql": ("ofql", "method.eta=2"),
    "fql": ("fql", "method.eta=5"),
}

SLOW = pytest.mark.slow


def bandit(q_toys: Any) -> Any:
    """Two thousand pulls, the worse mode's first."""
    rng = np.random.default_rng(0)
    worse = np.arange(PULLS) < WORSE_SHARE * PULLS
    angle, radius = rng.uniform(0, 2 * np.pi, PULLS), RADIUS * np.sqrt(rng.uniform(0, 1, PULLS))
    offset = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)  # even over a disc
    return q_toys.episodes(
        observation=np.zeros((PULLS, 1)),
        action=np.where(worse, -CENTER, CENTER)[:, None] + offset,
        reward=np.where(worse, 0.0, 1.0),
        terminated=np.ones(PULLS, bool),
        ends=np.arange(1, PULLS + 1),
        final_observation=np.zeros((PULLS, 1)),
    )


def pulled(q_toys: Any, method: str, *words: str, steps: int, seed: int = 0) -> Tensor:
    """Actions (2000, 2) of a policy trained on the bandit."""
    policy = q_toys.learn(bandit(q_toys), method, *FAST, *words, steps=steps, seed=seed)
    generator = torch.Generator().manual_seed(0)  # of the ancestral sampler too
    with torch.no_grad():
        return policy.sample(torch.zeros(2000, 1), generator=generator)[:, 0]


def shares(q_toys: Any, actions: Tensor) -> tuple[float, float]:
    """Shares of the actions that lie near a recorded one of the worse and of the better mode."""
    recorded = torch.as_tensor(bandit(q_toys).action)
    near = torch.cdist(actions, recorded) < NEAR  # (2000, 2000)
    split = round(WORSE_SHARE * PULLS)
    return near[:, :split].any(dim=1).float().mean().item(), near[:, split:].any(dim=1).float().mean().item()


def check_choice(q_toys: Any, actions: Tensor) -> None:
    worse, better = shares(q_toys, actions)
    assert better > 0.9, "the rarer mode, and within it"
    assert worse < 0.05
    behavior = torch.as_tensor(bandit(q_toys).action).mean(dim=0)
    assert (actions.mean(dim=0) - behavior).norm() > 0.5, "off the behavior's mean"


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=SLOW if name in ("edp", "fql") else ()) for name in RECIPES]
)
def test_the_critic_chooses_the_mode_and_the_data_its_place(q_toys: Any, recipe: str) -> None:
    check_choice(q_toys, pulled(q_toys, *RECIPES[recipe], steps=500))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["dql", "ofql", "fql"])  # EDP drifts: 13 % of its actions are off the data by then
def test_the_same_with_more_updates(q_toys: Any, recipe: str) -> None:
    check_choice(q_toys, pulled(q_toys, *RECIPES[recipe], steps=1500))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["dql", "ofql", "fql"])
def test_without_the_critic_both_modes_keep_their_shares(q_toys: Any, recipe: str) -> None:
    worse, better = shares(q_toys, pulled(q_toys, recipe, "method.eta=0", steps=1500))
    assert worse == pytest.approx(WORSE_SHARE, abs=0.15)
    assert better == pytest.approx(1 - WORSE_SHARE, abs=0.15)


def test_a_regression_lands_in_the_empty_middle(q_toys: Any) -> None:
    actions = pulled(q_toys, "td3bc", "method.eta=0", steps=200)
    assert shares(q_toys, actions) == (0.0, 0.0)


def test_without_the_behavior_the_critic_leaves_the_data(q_toys: Any) -> None:
    worse, better = shares(q_toys, pulled(q_toys, "ofql", "method.behavior_weight=0", steps=300))
    assert worse + better < 0.5
