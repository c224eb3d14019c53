"""Rewards of a task for recordings of its world: play is recorded once and serves all tasks.

They are OGBench's own (`ogbench.relabel_utils`), of the state in which an action was taken, as the environment has
them. Where the goal is reached the task is over, though the recording goes on.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.episodes import Episodes
from ...data.formats.ogbench import NO_REWARDS
from ...errors import LaminarError, nearest
from ..ids import split_id
from .names import all_ids, parse
from .task import make_task

Array = NDArray[Any]
_STATES = ("qpos", "button_states")


def with_rewards(episodes: Episodes, env_id: str) -> Episodes:
    """Return recordings with the rewards of a task, which terminates where its goal is reached.

    Args:
        episodes: play, with the states of its simulator in `infos`.
        env_id: of a task in the same world.

    Raises:
        LaminarError: no such task, recordings without states, or ones of another world.
    """
    states = {key: episodes.infos[key] for key in _STATES if key in episodes.infos}
    rewards, masks = _labels(states, env_id, episodes.source)
    reached = masks == 0
    truncated = np.zeros(len(episodes), np.bool_)
    truncated[episodes.ends - 1] = ~reached[episodes.ends - 1]
    solved = np.logical_or.reduceat(reached, episodes.starts)
    told = (
        f"rewards of {env_id}, whose goal is reached in {reached.sum()} of {len(reached)} steps and {solved.sum()} of "
        f"{len(solved)} recordings"
    )
    return replace(
        episodes,
        reward=rewards,
        terminated=reached,
        truncated=truncated,
        success=solved,
        has_reward=True,
        remarks=[*(remark for remark in episodes.remarks if NO_REWARDS not in remark), told],
    )


def _labels(states: dict[str, Array], env_id: str, source: str) -> tuple[Array, Array]:
    """Return (N,) float32 rewards, and masks that are 0 where the goal is reached."""
    name = parse(split_id(env_id)[0])
    if name is None:
        raise LaminarError(f"data.task={env_id} is no single task of OGBench{nearest(env_id, all_ids())}")
    env: Any = make_task(name)
    try:
        env.reset(seed=0)
        widths = {"qpos": env.unwrapped.model.nq, "button_states": getattr(env.unwrapped, "_num_buttons", 0)}
        for key, width in widths.items():
            found = states[key].shape[1:] if key in states else None
            if width and found != (width,):
                what = "no" if found is None else f"{found}"
                raise LaminarError(f"{source}: has {what} '{key}' a step, and data.task={env_id} needs ({width},)")
        labelled = dict(states)
        import_module("ogbench.relabel_utils").relabel_dataset(name.env_id, env, labelled)
    finally:
        env.close()
    return labelled["rewards"], labelled["masks"]
