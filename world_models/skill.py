"""Recordings of one skill: episodes at whose end it has been done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

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
        _check_numbered(episodes)
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


def beside_skill(episodes: Episodes, task: str | None, most: int, seed: int) -> Episodes | None:
    """Return recordings in which a skill was not done, at most so many: other windows of play, failed demonstrations.

    What the robot does elsewhere tells a success from a hand that is merely where successes end. None without any.
    """
    if INSTRUCTION in episodes.observation:
        which = ~_is_of(episodes, str(task))
    else:
        assert episodes.success is not None  # else there is no skill either
        which = ~episodes.success.astype(bool)
    found = np.flatnonzero(which)
    if not len(found):
        return None
    chosen = np.random.default_rng(seed).permutation(found)[:most]
    return without_instruction(episodes.select(np.sort(chosen)))


def without_instruction(episodes: Episodes) -> Episodes:
    """Return episodes that do not show what was asked for."""
    if INSTRUCTION not in episodes.observation:
        return episodes
    spec = replace(episodes.spec, observation={k: v for k, v in episodes.spec.observation.items() if k != INSTRUCTION})
    observation, final = (
        {key: value for key, value in one.items() if key != INSTRUCTION}
        for one in (episodes.observation, episodes.final_observation)
    )
    return replace(episodes, observation=observation, final_observation=final, spec=spec)


def _check_numbered(episodes: Episodes) -> None:
    told = episodes.spec.observation[INSTRUCTION]
    if told.unit not in ("", "task") or told.width != len(TASKS):
        raise LaminarError(
            f"{episodes.source}: dreams find a skill by its number, and the instruction is made of sentences "
            f"({told.unit or told.width}); leave out data.instruction, or give data.instruction=task"
        )


def _is_of(episodes: Episodes, task: str) -> NDArray[np.bool_]:
    first = episodes.observation[INSTRUCTION][episodes.starts]
    return first[:, TASKS.index(task)] == 1


def _windows(episodes: Episodes, task: str | None) -> Episodes:
    if task is None:
        raise LaminarError("dreams of play need a skill: give task=playroom/close_drawer or world.task=close_drawer")
    if task not in TASKS:
        raise LaminarError(f"world.task={task} is none of the annotated tasks{nearest(task, TASKS)}")
    kept = np.flatnonzero(_is_of(episodes, task))
    if not len(kept):
        raise LaminarError(f"{episodes.source}: '{task}' is in no annotated window; choose another task, or more play")
    return without_instruction(episodes.select(kept))
