"""Small planners on recordings of a point mass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.policies import NETWORKS, PROCESSES
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.planners import Planner, PlannerConfig, fitting
from laminar.policies.planners.config import InverseConfig, Refinement

LENGTHS = (20, 26, 31)
STEP = 0.1  # seconds
NETWORK = {
    "mlp": {"width": 32, "depth": 2},
    "unet1d": {"widths": [16, 32], "groups": 4, "time_width": 16},
    "transformer": {"width": 32, "depth": 2, "heads": 2, "time_width": 16},
}


def point_mass(action_low: float = -1.0, action_high: float = 1.0) -> Episodes:
    """Return three episodes of a point that is pushed; the first one terminated, the others were cut off."""
    rng = np.random.default_rng(0)
    states, finals, actions = [], [], []
    for length in LENGTHS:
        state = np.concatenate((rng.normal(3, 2, 2), rng.normal(0, 0.5, 2)))
        for _ in range(length):
            action = rng.uniform(-1, 1, 2)
            states.append(state)
            actions.append(action)
            velocity = 0.9 * state[2:] + action
            state = np.concatenate((state[:2] + STEP * velocity, velocity))
        finals.append(state)
    ends = np.cumsum(LENGTHS)
    terminated, truncated = np.zeros(ends[-1], bool), np.zeros(ends[-1], bool)
    terminated[ends[0] - 1], truncated[ends[1:] - 1] = True, True
    spec = Spec({"observation": Feature((4,))}, Feature((2,)), (action_low,) * 2, (action_high,) * 2)
    seen = np.array(states, np.float32)
    return Episodes(
        observation={"observation": seen},
        final_observation={"observation": np.array(finals, np.float32)},
        action=np.array(actions, np.float32),
        reward=seen[:, 0] + 2,
        terminated=terminated,
        truncated=truncated,
        ends=ends,
        spec=spec,
    )


@pytest.fixture
def episodes() -> Episodes:
    return point_mass()


@pytest.fixture
def with_goal(episodes: Episodes) -> Episodes:
    """Return the same recordings with a goal, the first two numbers of a state."""
    goal = np.zeros((len(episodes), 2), np.float32)
    return replace(episodes, infos={"goal": goal})


MakePlanner = Callable[..., Planner]


@pytest.fixture
def make_planner(episodes: Episodes, with_goal: Episodes) -> MakePlanner:
    """Build an untrained planner of weights that are nowhere zero.

    make_planner(process, network, process_settings, goals=…, draft=steps, seed=…, **settings of the planner)
    """

    def make(
        process: str = "diffusion",
        network: str = "mlp",
        settings: dict[str, Any] | None = None,
        goals: bool = False,
        draft: int | None = None,
        seed: int = 0,
        recorded: Episodes | None = None,
        planned: dict[str, Any] | None = None,
        **planner: Any,
    ) -> Planner:
        torch.manual_seed(seed)
        own: dict[str, Any] = {"diffusion": {"steps": 3, "prediction": "data", "clip": None}, "flow": {"steps": 3}}.get(
            process, {}
        )
        small: dict[str, Any] = {
            "horizon": 6,
            "chunk": 4,
            "execute": 2,
            "action_normalizer": "gaussian",
            "critic": CriticConfig(width=16, depth=1),
            "inverse": InverseConfig(width=16, depth=1),
            "draft": Refinement(width=16, depth=1, heads=2, steps=draft),
        }
        config = PlannerConfig(
            process=PROCESSES.config_class(process)(**(own | (settings or {}))), **(small | planner | (planned or {}))
        )
        made = NETWORKS.config_class(network)(**NETWORK[network])
        built = fitting.new(config, made, recorded or (with_goal if goals else episodes)).eval()
        with torch.no_grad():
            for name, parameter in built.named_parameters():
                parameter += 0.05 * torch.randn(parameter.shape) * (1 if parameter.dim() > 1 or "bias" in name else 0)
        built.plans.return_range.copy_(torch.tensor([-10.0, 30.0]))
        return built

    return make
