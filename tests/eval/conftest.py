"""Policies without learning, so that evaluation is tested on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.data.episodes import Episodes
from laminar.data.spec import Spec
from laminar.envs import env_spec, make_env
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.acting import Actor
from laminar.policies.guided import Guided, new_critic
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.mlp import Config

from .evaluated import record_run


class NoisePolicy:
    """Plays its noise, scaled, one action a chunk; counts calls."""

    def __init__(self, spec: Spec, scale: float = 0.3, noisy: bool = True) -> None:
        self.spec, self.scale = spec, scale
        self.noise_shape = (2, spec.action_dim) if noisy else None
        self.calls = 0

    def sample(self, obs: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        self.calls += 1
        batch = len(next(iter(obs.values())))
        if noise is None:
            return torch.zeros(batch, 1, self.spec.action_dim)
        assert noise.shape == (batch, *(self.noise_shape or ()))
        return (self.scale * noise[:, :1]).clamp(-1, 1)


PolicyMaker = Callable[..., NoisePolicy]


@pytest.fixture(scope="session")
def noise_policy() -> PolicyMaker:
    """Return a function from an environment's id (and NoisePolicy's options) to a policy that fits it."""

    def make(env_id: str, **options: bool | float) -> NoisePolicy:
        env = make_env(env_id)
        try:
            return NoisePolicy(env_spec(env), **options)  # type: ignore[arg-type]
        finally:
            env.close()

    return make


@pytest.fixture
def resets(monkeypatch: pytest.MonkeyPatch) -> list[list[int] | None]:
    """Return which slots actors were told to forget, one entry a call; None is all."""
    told: list[list[int] | None] = []
    reset = Actor.reset

    def spy(self: Actor, mask: Any = None) -> None:
        told.append(None if mask is None else np.flatnonzero(mask).tolist())
        reset(self, mask)

    monkeypatch.setattr(Actor, "reset", spy)
    return told


@pytest.fixture(scope="session")
def made_up_policy() -> Callable[..., GenerativePolicy | Guided]:
    """Return a function from a PolicyConfig to an untrained policy for Hopper, which falls after some ten steps."""

    def make(config: PolicyConfig | None = None, critic: bool = True) -> GenerativePolicy | Guided:
        env = make_env("Hopper-v4")
        spec = env_spec(env)
        env.close()
        rng = np.random.default_rng(0)
        episodes = Episodes(
            observation={"observation": rng.normal(0, 1, (20, 11)).astype(np.float32)},
            final_observation={"observation": np.zeros((1, 11), np.float32)},
            action=rng.uniform(-1, 1, (20, 3)).astype(np.float32),
            reward=np.zeros(20, np.float32),
            terminated=np.zeros(20, bool),
            truncated=np.zeros(20, bool),
            ends=np.array([20]),
            spec=spec,
        )
        torch.manual_seed(0)
        policy = GenerativePolicy.build(config or PolicyConfig(), Config(width=16, depth=1), episodes)
        if not critic:
            return policy.eval()
        return Guided(policy, new_critic(policy, CriticConfig(width=16, depth=1))).eval()

    return make


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """Write the eval.json of a made-up run: record(name, scores, seed=…, settings…), see `record_run`."""
    return partial(record_run, tmp_path)
