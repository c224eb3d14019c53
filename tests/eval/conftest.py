"""Policies without learning, so that evaluation is tested on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from laminar.data.spec import Spec
from laminar.envs import env_spec, make_env


class NoisePolicy:
    """Plays its noise, scaled; counts calls and remembers which slots were reset."""

    def __init__(self, spec: Spec, scale: float = 0.3, noisy: bool = True) -> None:
        self.spec, self.scale = spec, scale
        self.noise_shape = (2, spec.action_dim) if noisy else None
        self.calls = 0
        self.resets: list[list[int] | None] = []

    def act(self, obs: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        self.calls += 1
        batch = len(next(iter(obs.values())))
        if noise is None:
            return torch.zeros(batch, self.spec.action_dim)
        assert noise.shape == (batch, *(self.noise_shape or ()))
        return (self.scale * noise[:, 0]).clamp(-1, 1)

    def reset(self, mask: Tensor | None = None) -> None:
        self.resets.append(None if mask is None else torch.nonzero(mask).flatten().tolist())


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
