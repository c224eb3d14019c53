"""Recordings that go on after their task was over, cut into episodes that end there, as most layouts have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .episodes import Episodes
from .on_disk import join


def cut_where_terminated(episodes: Episodes) -> Episodes:
    """Return the same steps in episodes of which none goes on after a step that terminated the task.

    Of the parts of an episode that succeeded, those that end with a termination did.
    """
    last = np.isin(np.arange(len(episodes)), episodes.ends - 1)
    on_the_way = int((episodes.terminated & ~last).sum())
    if not on_the_way:
        return episodes
    rows = np.flatnonzero(episodes.terminated | last)
    ends, parent = rows + 1, episodes.episode_index[rows]
    after = np.where(last[rows], len(episodes) + parent, ends)  # rows of all steps, then of the final observations
    final = {key: join([episodes.observation[key], value])[after] for key, value in episodes.final_observation.items()}
    success = None if episodes.success is None else episodes.success[parent] & episodes.terminated[rows]
    return replace(
        episodes,
        final_observation=final,
        ends=ends,
        success=success,
        group=None if episodes.group is None else episodes.group[parent],
        tasks=None if episodes.tasks is None else episodes.tasks[parent],
        task_names=None if episodes.task_names is None else episodes.task_names[parent],
        remarks=[*episodes.remarks, f"an episode ends at each of {on_the_way} steps after which the recording goes on"],
    )
