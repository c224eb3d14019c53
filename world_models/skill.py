"""Recordings of one skill: episodes at whose end it has been done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..data.episodes import Episodes
from ..data.instructions import TASKS
from ..errors import LaminarError, nearest

INSTRUCTION = "instruction"


def of_skill(episodes: Episodes, task: str | None) -> Episodes:
    """Return the episodes in which a skill was done: annotated windows of play, demonstrations that succeed.

    Args:
        episodes: play in annotated windows with one number a task (`data.instruction=task`), or demonstrations.
        task: name of the skill, needed for play.

    Raises:
        LaminarError: no such skill, it was never done, or nothing tells what was.
    """
    if INSTRUCTION in episodes.observation:
        return _windows(episodes, task)
    if episodes.success is None:
        raise LaminarError(
            f"{episodes.source}: nothing tells which episodes succeed, neither language annotations nor success; "
            "dreams need recordings at whose end the skill is done"
        )
    kept = np.flatnonzero(episodes.success)
    if not len(kept):
        raise LaminarError(f"{episodes.source}: no episode succeeds; dreams need some at whose end the skill is done")
    return episodes.select(kept)


def _windows(episodes: Episodes, task: str | None) -> Episodes:
    if task is None:
        raise LaminarError("dreams of play need a skill: give task=playroom/close_drawer or world.task=close_drawer")
    if task not in TASKS:
        raise LaminarError(f"world.task={task} is none of the annotated tasks{nearest(task, TASKS)}")
    first = episodes.observation[INSTRUCTION][episodes.starts]
    kept = np.flatnonzero(first[:, TASKS.index(task)] == 1)
    if not len(kept):
        raise LaminarError(f"{episodes.source}: '{task}' is in no annotated window; choose another task, or more play")
    found = episodes.select(kept)
    spec = replace(found.spec, observation={k: v for k, v in found.spec.observation.items() if k != INSTRUCTION})
    observation, final = (
        {key: value for key, value in one.items() if key != INSTRUCTION}
        for one in (found.observation, found.final_observation)
    )
    return replace(found, observation=observation, final_observation=final, spec=spec)
