"""By what the tasks of a chain are told: by an instruction, or by a goal, the state that a scripted expert reaches."""

from __future__ import annotations

from ...data.calvin.hindsight import KEY
from ...data.spec import Spec
from ...errors import LaminarError, nearest
from .wording import ONE

INSTRUCTION, GOAL = "instruction", "goal"
TOLD = (INSTRUCTION, GOAL)
STREAM = 24
"""Beside a chain's seed: the ways that experts take do not come from the numbers that its noise comes from."""


def check_told(told: str, phrasings: str, spec: Spec) -> None:
    """Refuse a way to tell tasks that there is none of, or by which a policy cannot be told.

    Raises:
        LaminarError: says what to do.
    """
    if told not in TOLD:
        raise LaminarError(f"told={told}: tasks are told by instruction or by goal{nearest(told, TOLD)}")
    if told == INSTRUCTION:
        return
    if phrasings != ONE:
        raise LaminarError(f"phrasings={phrasings} says tasks in words, and told={told} says none; leave one out")
    if KEY not in spec.observation:
        raise LaminarError(
            f"told={told} shows a state to be reached, and the policy sees no '{KEY}'; train one with data.goals=N"
        )
