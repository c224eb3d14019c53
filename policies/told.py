"""A policy that was told one number a task becomes one that is told sentences, with nothing learned anew.

A text encoder of `laminar language` makes of a sentence how likely each task is meant: near to the one-hot vector that
the policy knows. So the encoder takes the place of the number, and the weights stay.
"""

from __future__ import annotations

from dataclasses import replace

from ..data.instructions import TASKS
from ..data.words.encoder import TextEncoder, remember
from ..errors import LaminarError
from .load import build
from .module import PolicyModule


def told_in_words(policy: PolicyModule, encoder: TextEncoder) -> PolicyModule:
    """Return the same policy, told in words through an encoder, which is saved along with it.

    Raises:
        LaminarError: the policy is not told one number a task, or the encoder knows other tasks.
    """
    told = policy.spec.observation.get("instruction")
    if told is None or told.unit != "task":
        how = "no instruction" if told is None else f"its instruction as '{told.unit}'"
        raise LaminarError(
            f"the policy is told {how}; only one that is told one number a task (data.instruction=task) "
            "can be told in words instead"
        )
    if encoder.tasks != TASKS:
        raise LaminarError(
            f"text encoder '{encoder.label}' knows other tasks than the {len(TASKS)} of the policy; learn "
            "it from recordings that name no others, or without data.path"
        )
    spec = replace(
        policy.spec, observation={**policy.spec.observation, "instruction": replace(told, unit=remember(encoder).label)}
    )
    again = build(policy.config, spec)
    again.load_state_dict(policy.state_dict())
    again.schedules = policy.schedules
    return again.eval()
