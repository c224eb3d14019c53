"""The inverse model: which actions lead from one state of a plan to the next. It is a policy that sees both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...data.normalizer import Normalizer
from ...data.spec import Feature, Spec
from ..generative import GenerativePolicy, PolicyConfig
from ..networks import NETWORKS
from ..processes import PROCESSES
from .config import InverseConfig, PlannerConfig
from .layout import Layout

STATE, CHANGE = "state", "change"
"""What it sees: a state, and the difference to the next one, which is small beside it and so has a scale of its own."""


def new_inverse(
    config: PlannerConfig, layout: Layout, spec: Spec, observed: Normalizer, acted: Normalizer
) -> GenerativePolicy:
    """Build an untrained inverse model: m actions (B, m, A) for a state and its change, raw units."""
    features = {STATE: Feature((layout.state_dim,)), CHANGE: Feature((layout.state_dim,))}
    seen = replace(spec, observation=features, history=1, chunk=layout.stride, execute=1, ensemble=None)
    settings, network = _settings(config.inverse, config), NETWORKS.config_from_json(_network(config.inverse))
    return GenerativePolicy(replace(settings, chunk=layout.stride), network, seen, observed, acted)


def _settings(inverse: InverseConfig, config: PlannerConfig) -> PolicyConfig:
    process = PROCESSES.config_class(inverse.process)
    own: dict[str, Any] = {"steps": inverse.steps} if inverse.process in ("flow", "diffusion") else {}
    return PolicyConfig(
        process=process(**own),
        observation_normalizer="gaussian",
        action_normalizer="minmax",
        observation_bound=config.observation_bound,
    )


def _network(inverse: InverseConfig) -> dict[str, Any]:
    return {"name": "mlp", "width": inverse.width, "depth": inverse.depth}


def sees(state: Tensor, following: Tensor) -> dict[str, Tensor]:
    """Return windows {key: (B, 1, S)} of two states (B, S)."""
    return {STATE: state[:, None], CHANGE: (following - state)[:, None]}


def pairs(batch: Mapping[str, Tensor], count: int) -> dict[str, Any]:
    """Return pairs of states of recorded windows, see `PlanWindows`, as a batch to clone from: `count` of each.

    They are evenly spread over a window. Beyond the end of an episode there are none, and the first pair counts again.
    """
    segments = batch["action"].shape[1]
    at = torch.linspace(0, segments - 1, min(count, segments), device=batch["state"].device).long()
    inside = batch["acting"][:, at, 0]  # (B, count)
    at = torch.where(inside, at, 0)
    rows = torch.arange(len(at), device=at.device)[:, None]
    seen = sees(batch["state"][rows, at].flatten(0, 1), batch["state"][rows, at + 1].flatten(0, 1))
    action, mask = batch["action"][rows, at].flatten(0, 1), batch["acting"][rows, at].flatten(0, 1)
    return {"observation": seen, "action": action, "mask": mask}
