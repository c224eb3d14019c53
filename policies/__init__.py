"""Policies: a deterministic map from (observation, noise) to a chunk of actions.

Needs torch, einops, numpy and safetensors only, so that policies also run on a bare robot or GPU machine.
"""

from __future__ import annotations

from .generative import GenerativePolicy, PolicyConfig, load_policy
from .networks import NETWORKS
from .processes import PROCESSES

__all__ = ["NETWORKS", "PROCESSES", "GenerativePolicy", "PolicyConfig", "load_policy"]
