"""Policies: a deterministic map from (observation, noise) to a chunk of actions.

Needs torch, einops, numpy and safetensors only, so that policies also run on a bare robot or GPU machine.
"""

from __future__ import annotations

from .acting import Actor
from .generative import GenerativePolicy, PolicyConfig
from .load import POLICIES, load_policy
from .networks import NETWORKS
from .policy import Policy
from .processes import PROCESSES

__all__ = [
    "NETWORKS",
    "POLICIES",
    "PROCESSES",
    "Actor",
    "GenerativePolicy",
    "Policy",
    "PolicyConfig",
    "load_policy",
]
