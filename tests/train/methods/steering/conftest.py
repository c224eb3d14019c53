"""A base to steer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes.flow import Config as FlowConfig


@pytest.fixture
def base() -> GenerativePolicy:
    """An untrained flow: 3 states, 2 actions in raw units, chunks of 4 of which 2 are executed."""
    rng = np.random.default_rng(0)
    rows, zeros = 60, np.zeros(60, bool)
    episodes = Episodes(
        observation={"observation": rng.normal(5, 3, (rows, 3)).astype(np.float32)},
        final_observation={"observation": np.zeros((3, 3), np.float32)},
        action=rng.uniform((-2, 5), (2, 15), (rows, 2)).astype(np.float32),
        reward=np.zeros(rows, np.float32),
        terminated=zeros,
        truncated=zeros,
        ends=np.array([20, 40, 60]),
        spec=Spec({"observation": Feature((3,))}, Feature((2,)), (-2.0, 0.0), (2.0, 20.0)),
    )
    torch.manual_seed(0)
    config = PolicyConfig(process=FlowConfig(steps=2), chunk=4, execute=2)
    return GenerativePolicy.build(config, MLPConfig(width=16, depth=2), episodes).eval()
