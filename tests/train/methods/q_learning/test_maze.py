"""A point maze with two doors: the recordings dawdle, mostly through the far door; the critic knows a shorter way.

The policy shall arrive sooner than a clone does, by actions that were recorded near where it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

START, GOAL = np.array([-0.8, -0.6]), np.array([0.8, -0.6])
NEAR_DOOR, FAR_DOOR = np.array([0.05, -0.4]), np.array([0.05, 0.75])
STEP, REACHED, HORIZON = 0.25, 0.25, 50
FAST = (
    *("network.width=64", "method.critic.width=64", "method.critic.layer_norm=true", "method.batch_size=128"),
    *("method.lr=0.01", "method.critic_lr=0.01", "method.final_lr=0.1"),
    *("method.ema_start=0", "method.ema_every=1", "method.ema_decay=0.98"),
    *("method.discount=0.95", "method.n_step=3", "method.target_rate=0.05"),
)


class Walks(NamedTuple):
    """N walks side by side; the rows after a walk's end do not count."""

    position: np.ndarray  # (N, HORIZON, 2)
    action: np.ndarray  # (N, HORIZON, 2)
    after: np.ndarray  # (N, HORIZON, 2)
    arrived: np.ndarray  # (N, HORIZON) bool, in the step that reaches the goal
    alive: np.ndarray  # (N, HORIZON) bool, steps that count


def move(position: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Step, unless the wall x = 0 is in the way: its doors are -0.7 < y < -0.1 and y > 0.5."""
    after = np.clip(position + STEP * action, -1, 1)
    before_x, after_x = position[:, 0], after[:, 0]
    crosses = before_x * after_x < 0
    share = np.where(crosses, before_x / np.where(crosses, before_x - after_x, 1.0), 0.0)
    y = position[:, 1] + share * (after[:, 1] - position[:, 1])
    is_open = ((y > -0.7) & (y < -0.1)) | (y > 0.5)
    return np.where((crosses & ~is_open)[:, None], position, after)


def walk(position: np.ndarray, choose: Any) -> Walks:
    """Walk from each position (N, 2); `choose` maps positions (N, 2) to actions (N, 2)."""
    alive, steps = np.ones(len(position), bool), []
    for _ in range(HORIZON):
        action = choose(position)
        after = move(position, action)
        arrived = alive & (np.linalg.norm(after - GOAL, axis=1) < REACHED)
        steps.append((position, action, after, arrived, alive))
        position, alive = after, alive & ~arrived
    return Walks(*(np.stack(parts, axis=1) for parts in zip(*steps, strict=True)))


def behavior(start: np.ndarray, rng: np.random.Generator) -> Walks:
    """Walk to a door, for seven of ten the far one, and on to the goal, never straight and never fast."""
    door = np.where(rng.uniform(size=(len(start), 1)) < 0.7, FAR_DOOR, NEAR_DOOR)

    def choose(position: np.ndarray) -> np.ndarray:
        way = np.where(position[:, :1] < 0, door, GOAL) - position
        angle = np.arctan2(way[:, 1], way[:, 0]) + 0.4 * rng.standard_normal(len(way))
        speed = rng.uniform(0.4, 0.9, (len(way), 1))
        return speed * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    return walk(start, choose)


def maze(q_toys: Any) -> Any:
    """Three hundred walks from anywhere left of the wall; every step costs 1."""
    rng = np.random.default_rng(0)
    walks = behavior(rng.uniform((-1.0, -1.0), (-0.2, 1.0), (300, 2)), rng)
    counts = walks.alive.sum(axis=1)
    return q_toys.episodes(
        observation=walks.position[walks.alive],
        action=walks.action[walks.alive],
        reward=-np.ones(counts.sum()),
        terminated=walks.arrived[walks.alive],
        ends=np.cumsum(counts),
        final_observation=walks.after[np.arange(len(counts)), counts - 1],
    )


def corner(count: int = 200) -> np.ndarray:
    """Starts (N, 2) in a corner, from where the far door is the wrong one."""
    return START + np.random.default_rng(1).uniform(-0.1, 0.1, (count, 2))


def learned(q_toys: Any, episodes: Any, method: str, *words: str, steps: int, seed: int = 0) -> Walks:
    policy = q_toys.learn(episodes, method, *FAST, *words, steps=steps, seed=seed)
    generator = torch.Generator().manual_seed(0)

    def choose(position: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return policy.sample(torch.as_tensor(position, dtype=torch.float32), generator=generator)[:, 0].numpy()

    return walk(corner(), choose)


def apart(episodes: Any, walks: Walks) -> np.ndarray:
    """Distance (M,) of each step's (position, action) from the nearest recorded one."""
    recorded = np.concatenate([episodes.observation["observation"], episodes.action], axis=1)
    visited = np.concatenate([walks.position, walks.action], axis=2)[walks.alive]
    return torch.cdist(torch.tensor(visited), torch.tensor(recorded, dtype=torch.float64)).amin(dim=1).numpy()


def steps_to_goal(walks: Walks) -> float:
    """Mean over the walks; those that never arrive count the horizon."""
    return float(walks.alive.sum(axis=1).mean())


def share_outside(episodes: Any, walks: Walks) -> float:
    """Share of the steps that are further from the recordings than 99 % of the behavior's own, walked anew."""
    limit = np.quantile(apart(episodes, behavior(corner(), np.random.default_rng(2))), 0.99)
    return float((apart(episodes, walks) > limit).mean())


def test_the_recordings(q_toys: Any) -> None:
    episodes = maze(q_toys)
    assert episodes.terminated.sum() == 300, "every walk arrives"
    again = behavior(corner(), np.random.default_rng(2))
    assert (again.position[:, :, 1].max(axis=1) > 0.3).mean() > 0.6, "mostly by the far door"
    walls = move(np.array([[-0.1, 0.2], [-0.1, -0.4], [-0.1, 0.8]]), np.array([[1.0, 0.0]] * 3))
    assert walls[:, 0].tolist() == pytest.approx([-0.1, 0.15, 0.15])


def check_way(episodes: Any, walks: Walks, others: Walks) -> None:
    assert walks.arrived.any(axis=1).mean() > 0.95
    assert steps_to_goal(walks) < 0.8 * steps_to_goal(others)
    assert (walks.position[:, :, 1].max(axis=1) > 0.3).mean() < 0.2, "not by the far door any more"
    assert share_outside(episodes, walks) < 0.1


@pytest.mark.slow
def test_a_shorter_way_than_the_recorded_by_recorded_actions(q_toys: Any) -> None:
    episodes = maze(q_toys)
    walks = learned(q_toys, episodes, "ofql", "method.eta=1", steps=800)
    check_way(episodes, walks, behavior(corner(), np.random.default_rng(2)))


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "eta"), [("ofql", 1.0), ("dql", 0.3)])
def test_a_shorter_way_than_the_clones(q_toys: Any, recipe: str, eta: float) -> None:
    episodes = maze(q_toys)
    walks = learned(q_toys, episodes, recipe, f"method.eta={eta}", steps=1500)
    clone = learned(q_toys, episodes, recipe, "method.eta=0", steps=1500)
    check_way(episodes, walks, clone)


@pytest.mark.slow
def test_without_the_behavior_the_critic_leaves_the_recordings(q_toys: Any) -> None:
    episodes = maze(q_toys)
    walks = learned(q_toys, episodes, "ofql", "method.behavior_weight=0", steps=200)
    assert share_outside(episodes, walks) > 0.5
