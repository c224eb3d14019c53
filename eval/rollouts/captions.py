"""What a film says about an episode: its task, the instruction that the policy was given, and how it goes."""

from __future__ import annotations

from typing import Any

import gymnasium

from ...data.instructions import HELD_OUT
from ...data.language import has_own_sentences
from ...data.spec import Spec
from ...envs.room import as_room
from ..results.result import Episode


def task_text(env: gymnasium.Env[Any, Any], env_id: str, spec: Spec) -> str:
    """Return the task of all episodes in an environment: its id where it is of no room."""
    room = as_room(env)
    task = room.task if room else None
    return env_id if task is None else instruction_text(task, spec)


def instruction_text(task: str, spec: Spec, sentence: str | None = None) -> str:
    """Return a room's task, with the sentence that the policy was given for it where that is known."""
    shown = task.replace("_", " ")
    if sentence is not None:
        return f'{shown}: "{sentence}"'
    instruction = spec.observation.get("instruction")
    label = "" if instruction is None else instruction.unit
    told = has_own_sentences(label) and label != "task" and task in HELD_OUT  # "task" is a number, no sentence
    return f'{shown}: "{HELD_OUT[task]}"' if told else shown


def outcome_of(episode: Episode, ended: bool) -> dict[str, Any]:
    """Return what a caption says about an episode so far, or about one that has ended."""
    if episode.success is None:
        return {"outcome": f"{'ended, ' if ended else ''}return {episode.total:.4g}"}
    if episode.success:
        return {"outcome": "success", "good": True}
    return {"outcome": "no success", "good": False} if ended else {"outcome": "no success yet"}
