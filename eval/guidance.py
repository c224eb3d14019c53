"""Settings of a guidance on the command line: what they say, and those that would have no effect are refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..errors import LaminarError
from ..policies.guided.acting import OF_GUIDANCE, Acting
from .config import Guidance


def acting_told(config: Any, given: set[str]) -> Acting | None:
    """Return how a policy is told to act.

    Args:
        config: settings, those of `Guidance` and candidates among them.
        given: names of those that the user gave.

    Returns:
        None where nothing was said about it, so that a policy acts as it was saved: most by plain samples, a steered
        one by its critic's choice.
    """
    if not given & {"candidates", *(one.name for one in fields(Guidance))}:
        return None
    return Acting.of(config, candidates=1 if config.candidates is None else config.candidates)


def refuse_unused(config: Guidance, given: set[str], one: bool) -> None:
    """Refuse settings of a guidance that would have no effect.

    Args:
        config: the settings.
        given: names of those that the user gave.
        one: whether there is a single candidate.

    Raises:
        LaminarError: names the setting.
    """
    for name, guidances in OF_GUIDANCE.items():
        if name in given and config.guidance not in guidances:
            remedy = " or ".join(f"guidance={other}" for other in guidances)
            raise LaminarError(f"{name} does not apply to guidance={config.guidance}; give {remedy}, or leave it out")
    alone = ("selection",) if config.guidance == "gradient" else ("selection", "temperature")
    for name in alone if one else ():
        if name in given:
            raise LaminarError(f"{name} does not apply to a single sample; give candidates=N above 1")
    if config.selection == "argmax" and config.guidance == "best_of_n" and "temperature" in given:
        raise LaminarError("temperature does not apply to selection=argmax; leave it out")
