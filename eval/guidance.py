"""How a policy is told to act on the command line: what is not said there stays as it was saved."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from .config import Guidance


def acting_told(config: Any, given: set[str]) -> dict[str, Any] | None:
    """Return how a policy is told to act, for `policies.guided.guide`.

    Args:
        config: settings, those of `Guidance` and candidates among them.
        given: names of those that the user gave.

    Returns:
        What was said, by name. None where nothing was, so that a policy acts as it was saved: most by plain samples, a
        planner or a steered one by its critic's choice.
    """
    names = given & {"candidates", *(one.name for one in fields(Guidance))}
    return {name: getattr(config, name) for name in sorted(names) if getattr(config, name) is not None} or None
