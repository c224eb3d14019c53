"""Small problems with known answers, and every method of offline Q-learning from its own file of settings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar import configs
from laminar.configs.compose import compose, options
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.policies import GenerativePolicy
from laminar.policies.guided import Guided
from laminar.train.config import RuntimeConfig, TrainConfig
from laminar.train.improver import Context
from laminar.train.methods.q_learning import Agent, QLearning
from laminar.train.methods.q_learning.losses import actor_loss, behavior_of
from laminar.train.methods.q_learning.targets import critic_loss, next_value_of

METHODS = Path(configs.__file__).parent / "method"
SMALL = ("network.width=32", "method.critic.width=32", "method.batch_size=64")


class QToys:
    """What builds problems and learners; tests get it as the fixture `q_toys`."""

    METHODS = tuple(m for m in options("method") if "q_learning_schema" in (METHODS / f"{m}.yaml").read_text())

    @staticmethod
    @cache
    def settings(method: str, words: Sequence[str] = ()) -> TrainConfig:
        """Settings of a method with its own policy, small networks, and further words."""
        return compose("train", [f"method={method}", *SMALL, *words])

    @staticmethod
    def learner(
        episodes: Episodes, method: str, *words: str, steps: int = 1000, compiled: bool = False, seed: int = 0
    ) -> QLearning:
        """Return an untrained improver; the same seed gives the same weights and draws."""
        config = QToys.settings(method, words)
        torch.manual_seed(seed)
        policy = GenerativePolicy.build(config.policy, config.network, episodes)
        generator = torch.Generator().manual_seed(seed)
        context = Context(steps, generator, RuntimeConfig(compiled=compiled))
        return QLearning(policy, episodes, config.method, context)

    @staticmethod
    def critic_loss(agent: Agent, batch: Any, draws: Any, returns: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the critics, with the terms that the agent's settings choose."""
        return critic_loss(agent, batch, draws, next_value_of(agent.config), returns)

    @staticmethod
    def actor_loss(agent: Agent, batch: Any, draws: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the actor, with the terms that the agent's settings choose."""
        return actor_loss(agent, batch, draws, behavior_of(agent.config))

    @staticmethod
    def learn(episodes: Episodes, method: str, *words: str, steps: int, seed: int = 0) -> Guided:
        """Return the policy after some updates."""
        learner = QToys.learner(episodes, method, *words, steps=steps, seed=seed)
        for step in range(steps):
            learner.update(step)
        return learner.product()

    @staticmethod
    def episodes(
        observation: Any, action: Any, reward: Any, terminated: Any, ends: Any, final_observation: Any
    ) -> Episodes:
        """Return Episodes of arrays (N, D), (N, A), (N,), (N,), (E,), (E, D); what does not terminate is truncated."""
        observation, action = np.asarray(observation, np.float32), np.asarray(action, np.float32)
        terminated, ends = np.asarray(terminated, bool), np.asarray(ends)
        last = np.zeros(len(action), bool)
        last[ends - 1] = True
        width = action.shape[1]
        return Episodes(
            observation={"observation": observation},
            final_observation={"observation": np.asarray(final_observation, np.float32)},
            action=action,
            reward=np.asarray(reward, np.float32),
            terminated=terminated,
            truncated=last & ~terminated,
            ends=ends,
            spec=Spec(
                {"observation": Feature(observation.shape[1:])},
                Feature((width,)),
                (-1.0,) * width,
                (1.0,) * width,
            ),
        )

    @staticmethod
    def random(rows: int = 40, states: int = 3, width: int = 2, seed: int = 0) -> Episodes:
        """Return episodes of ten noisy steps, every other one terminated."""
        rng = np.random.default_rng(seed)
        ends = np.arange(10, rows + 1, 10)
        terminated = np.zeros(rows, bool)
        terminated[ends[::2] - 1] = True
        return QToys.episodes(
            observation=rng.standard_normal((rows, states)),
            action=rng.uniform(-1, 1, (rows, width)),
            reward=rng.standard_normal(rows),
            terminated=terminated,
            ends=ends,
            final_observation=rng.standard_normal((len(ends), states)),
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `method` runs for every one: a new file of settings is tested without a line."""
    if "method" in metafunc.fixturenames:
        metafunc.parametrize("method", QToys.METHODS)


@pytest.fixture(scope="session")
def q_toys() -> type[QToys]:
    return QToys
