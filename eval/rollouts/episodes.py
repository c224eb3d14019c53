"""Evaluation: one episode a seed, many in lockstep.

The seed of an episode fixes the environment's reset and the policy's noise, so an episode does not depend on which
others run beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any
from zlib import crc32

import gymnasium
import numpy as np

from ...envs.figures import episode_figures, planned_figures
from ...envs.ids import extended
from ...envs.room import as_room
from ...errors import LaminarError
from ...policies.policy import Policy
from ...progress import Finished
from ..results.result import Episode, Result
from .captions import outcome_of, task_text
from .lockstep import Lockstep
from .measurement import measure
from .moment import Moment
from .options import DEFAULTS, RolloutOptions


def evaluate(
    policy: Policy | str | Path, env_id: str, seeds: Sequence[int], options: RolloutOptions = DEFAULTS, **settings: Any
) -> Result:
    """Measure a policy: one episode a seed.

    With the stochastic solver `ddpm` the noise inside the chain comes from one seeded stream for all environments, so
    there an episode also depends on `num_envs`. An episode counts as a success if the environment reported success at
    any of its steps (see `envs.success`). A policy that sees instructions gets the embedding it was trained with,
    unless `env_id` names one.

    Args:
        policy: a policy, or a folder with one (a checkpoint or a run).
        env_id: gymnasium or D4RL id.
        seeds: one episode each; the same seeds give the same resets and the same noise.
        options: how it is rolled out.
        settings: fields of `RolloutOptions` that differ from `options`, such as ``num_envs=8``.

    Raises:
        LaminarError: the policy does not fit the environment or gave a non-finite action; no or repeated seeds.
        Stopped: by Ctrl-C; `found` is the result of the episodes that were finished by then.
    """
    options = options.but(**settings)
    found = measure(run_episodes, policy, env_id, seeds, options)
    figures = (found.checkpoint, found.num_envs, found.seconds)
    result = Result(found.env_id, found.records, *figures, simulator=found.simulator)
    first, *others = found.records
    same = bool(others) and all(first.same_as(other) for other in others)
    seen: dict[str, Any] = {"findings": found.findings, "out_of_range": found.out_of_range}
    how: dict[str, Any] = {"acting": found.acting, "runtime": found.runtime, "steps": found.steps}
    how |= {"manner": found.manner, "plan": options.plan}
    how |= {"origin": found.origin, "rate_hz": found.rate_hz, "network_calls": found.network_calls}
    return found.whole(replace(result, same=same, planned=found.planned, **how, **seen))


def run_episodes(lockstep: Lockstep, seeds: Sequence[int]) -> dict[int, Episode]:
    """Run one episode a seed; return those that were finished."""
    check_ends(lockstep.env_id, lockstep.world.envs[0])
    episodes = {seed: Episode(seed, 0.0, 0, None) for seed in seeds}
    recorder = lockstep.recorder
    task = task_text(lockstep.world.envs[0], lockstep.env_id, lockstep.policy.spec)

    def start(fresh: dict[int, int]) -> None:
        if recorder is not None:
            for seed in fresh.values():
                recorder.caption(seed, task=task)
        lockstep.start(fresh)
        for slot, seed in fresh.items():
            shown = [rows[slot].tobytes() for rows in lockstep.world.observations.values()]
            episodes[seed].trace = (reduce(lambda value, rows: crc32(rows, value), shown, 0), 0.0)

    def advance(slot: int, seed: int, moment: Moment) -> Finished | None:
        episode = episodes[seed]
        episode.total += moment.reward
        episode.length += 1
        if episode.length == 1:
            episode.figures = _of_plan(lockstep, slot)
        if moment.success is not None:
            episode.success = moment.success or bool(episode.success)
            episode.success_steps = moment.success + (episode.success_steps or 0)
            episode.success_at_end = moment.success
        if recorder is not None and recorder.films(seed):
            recorder.caption(seed, **outcome_of(episode, moment.ended))
        if not moment.ended:
            return None
        last = (rows[slot] for rows in lockstep.world.observations.values())
        episode.trace = (episode.trace[0], sum(float(rows.sum(dtype=np.float64)) for rows in last))
        episode.jerk = lockstep.jerk(slot)
        episode.figures |= episode_figures(lockstep.world.envs[slot], lockstep.env_id)
        told = {} if episode.success is None else {"success": float(episode.success)}
        return Finished(told | {"return": episode.total})

    done = lockstep.run(seeds, start, advance)
    return {seed: episodes[seed] for seed in seeds if seed in done}


def _of_plan(lockstep: Lockstep, slot: int) -> dict[str, float]:
    """Return what the environment measures of the plan that was just made in a slot; of most policies there is none."""
    decision = lockstep.decision
    foreseen = None if decision is None else decision.foreseen
    if decision is None or foreseen is None or not decision.slots[slot]:
        return {}
    row = int(decision.slots[:slot].sum())
    planned = {key: values[row].cpu().numpy() for key, values in foreseen.items()}
    return planned_figures(lockstep.world.envs[slot], lockstep.env_id, planned)


def check_ends(env_id: str, env: gymnasium.Env[Any, Any]) -> None:
    """Raise LaminarError for a room in which an episode would never end."""
    room = as_room(env)
    if room is not None and room.max_steps is None:
        some, limited = (extended(env_id, one) for one in ({"task": "open_drawer"}, {"max_steps": "360"}))
        raise LaminarError(
            f"an episode in '{env_id}' never ends: choose a task ('{some}'), a limit ('{limited}'), "
            f"or chains of instructions (task=calvin-chain)"
        )
