"""Scripted experts: one script a task, which moves a `Hand` by what it measures."""

from __future__ import annotations

from ....errors import LaminarError, nearest
from . import blocks, doors
from .hand import Hand, Motion

SCRIPTS = doors.SCRIPTS | blocks.SCRIPTS


def script(task: str, hand: Hand) -> Motion:
    """Return the motion that does a task from here: relative actions (7,), one a control step.

    Raises:
        LaminarError: no expert knows the task.
    """
    if task not in SCRIPTS:
        known = ", ".join(SCRIPTS)
        raise LaminarError(f"no expert of the playroom knows task '{task}' (known: {known}){nearest(task, SCRIPTS)}")
    return SCRIPTS[task](hand)
