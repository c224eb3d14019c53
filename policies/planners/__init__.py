"""Planners: policies that write a plan of what will be seen, and act so that it comes true.

    planner       the policy; `following` is the actor that keeps whole plans, `waypoints` one of its controllers
    anew          choices of acting that are made anew for a saved one; `words` says how plans are followed
    config        what a plan is, how it is made, how one is chosen, and how it is followed
    layout        what the numbers of a plan are
    plans         the generative policy whose actions are the tokens of a plan
    inpainting    how it is told where plans begin, and where they end
    draft         a causal generator that writes a plan (Trajectory Diffuser); `refinement`: the last steps improve it
    critic        what return to expect of a plan
    inverse       the policy that finds the actions between two states; `fitting`: all of it for some recordings

Diffuser (Janner et al. 2022), Decision Diffuser (Ajay et al. 2023), Trajectory Diffuser (ECCV 2024) and Diffusion
Veteran (2025) are settings of the one planner, see configs/policy/. It stands in front of a policy of plans, with a
critic behind that where one chooses or guides: whatever steers, guides, runs or deploys policies does it to both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...data.normalizer import Normalizer
from ...data.spec import Spec
from ..acting import Actor
from ..module import PolicyModule
from ..networks import NETWORKS
from ..networks.critics import CriticConfig
from ..processes import PROCESSES
from .config import Following, InverseConfig, PlannerConfig, Refinement
from .critic import PlanCritic
from .following import ChunkActor, PlanningActor
from .inverse import new_inverse
from .planner import Plan, PlanningPolicy
from .plans import Plans
from .words import manner

__all__ = ["Plan", "Planner", "PlannerConfig", "Plans", "restore"]


class Planner(PlanningPolicy):
    """A planner, and the actor that it brings along."""

    def new_actor(self, generator: torch.Generator | None = None) -> Actor:
        """Return an actor; one that keeps whole plans where they are followed otherwise than by chunks."""
        return PlanningActor(self, generator) if self.remembers else ChunkActor(self, generator)

    @property
    def remembers(self) -> bool:
        """Whether its actor keeps more than chunks."""
        return self.planner_config.follow != Following()

    @property
    def manner(self) -> str:
        """How its plans are made and followed."""
        return manner(self)


def restore(config: Mapping[str, Any], spec: Spec, base: PolicyModule | None) -> Planner:
    """Build a planner without its weights from its `config`."""
    settings = dict(config["policy"])
    settings["process"] = PROCESSES.config_from_json(settings["process"])
    settings["draft"], settings["inverse"] = Refinement(**settings["draft"]), InverseConfig(**settings["inverse"])
    settings["critic"], settings["follow"] = CriticConfig(**settings["critic"]), Following(**settings["follow"])
    planner = PlannerConfig(**plain_settings(settings))
    normalizers = [Normalizer.from_config(config[name]) for name in ("observation_normalizer", "plan_normalizer")]
    plans = Plans(planner, NETWORKS.config_from_json(config["network"]), spec, *normalizers)
    seen = config["inverse"]
    inverse = seen and new_inverse(planner, plans.layout, spec, *(Normalizer.from_config(one) for one in seen))
    critic = PlanCritic(planner.critic, plans) if config["judged"] else None
    return Planner(plans, spec, inverse or None, critic)


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings with those of pictures as what they are; a planner sees none."""
    own = PlannerConfig()
    return {**settings, "encoder": own.encoder, "augment": own.augment}
