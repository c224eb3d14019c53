"""Measuring policies: rollouts on recorded seeds, intervals, comparisons, reports, latency.

`evaluate` and `Interval` are imported on first use: measuring latency needs no environment.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .results.scores import Interval
    from .rollouts.episodes import evaluate

__all__ = ["Interval", "evaluate"]

_HOME = {"evaluate": ".rollouts.episodes", "Interval": ".results.scores"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'laminar.eval' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value  # the next access no longer comes here
    return value
