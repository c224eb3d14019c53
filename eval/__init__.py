"""Measuring policies: rollouts on recorded seeds, intervals, comparisons, reports."""

from __future__ import annotations

from .rollout import evaluate
from .scores import Interval

__all__ = ["Interval", "evaluate"]
