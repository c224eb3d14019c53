"""Small policies on made-up demonstrations."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.guided import Guided, new_critic
from laminar.policies.networks.critics import CriticConfig


@pytest.fixture
def episodes() -> Episodes:
    """Six episodes of 20 steps: 3-d state, 2-d action that depends on it; raw units far from [-1, 1]."""
    rng = np.random.default_rng(0)
    count, steps = 6, 20
    state = rng.normal(5.0, 3.0, (count * steps, 3)).astype(np.float32)
    action = np.stack([2 * np.sin(state[:, 0]), 10 + 0.5 * state[:, 1]], axis=1).astype(np.float32)
    zeros = np.zeros(count * steps, bool)
    return Episodes(
        observation={"observation": state},
        final_observation={"observation": state[:count]},
        action=action,
        reward=np.zeros(count * steps, np.float32),
        terminated=zeros,
        truncated=zeros,
        ends=np.arange(1, count + 1) * steps,
        spec=Spec({"observation": Feature((3,))}, Feature((2,)), (-2.0, 0.0), (2.0, 20.0)),
    )


SMALL_NETWORKS = {
    "mlp": {"width": 32, "depth": 2},
    "unet1d": {"widths": [16, 32], "groups": 4, "time_width": 16},
    "transformer": {"width": 32, "depth": 2, "heads": 2, "time_width": 16},
}


@pytest.fixture
def make_policy(episodes: Episodes) -> Callable[..., GenerativePolicy]:
    """Build an untrained policy: make_policy(process, network, process_settings, prefix, **policy settings)."""

    def make(
        process: str = "flow",
        network: str = "mlp",
        settings: dict | None = None,
        prefix: int = 0,
        **policy: object,
    ) -> GenerativePolicy:
        process_config = PROCESSES.config_class(process)(**(settings or {}))
        network_config = NETWORKS.config_class(network)(**SMALL_NETWORKS.get(network, {}))
        return GenerativePolicy.build(PolicyConfig(process=process_config, **policy), network_config, episodes, prefix)

    return make


@pytest.fixture
def make_critical(make_policy: Callable[..., GenerativePolicy]) -> Callable[..., Guided]:
    """As make_policy, with a critic of random weights behind it; acts by plain samples."""

    def make(process: str = "flow", settings: dict[str, object] | None = None, **policy: object) -> Guided:
        torch.manual_seed(0)
        made = make_policy(process, settings=settings, **policy)
        return Guided(made, new_critic(made, CriticConfig(width=32, depth=2)))

    return make
