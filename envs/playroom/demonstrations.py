"""Demonstrations of one task of the playroom, or of the genuine CALVIN, by its scripted expert."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ...data.episodes import Episodes
from ...data.spec import Spec
from ...errors import LaminarError
from ...progress import Finished, Watch, ignore
from ..spec import env_spec
from .disturbance import Disturbance
from .experts import script
from .experts.doors import SCRIPTS as DOORS
from .experts.hand import Hand
from .seen import Scripted, as_scripted

Array = NDArray[Any]

_FAILURES = 20  # more of them than successes are no bad luck


@dataclass
class _Recording:
    """Columns of one episode, one row a step; observations have one more."""

    observation: list[dict[str, Array]]
    action: list[Array] = field(default_factory=lambda: [])
    executed: list[Array] = field(default_factory=lambda: [])
    success: bool = False


def collect(env: gymnasium.Env[Any, Any], episodes: int, seed: int, watch: Watch = ignore) -> Episodes:
    """Record successful demonstrations of an environment's task.

    The executed actions are disturbed, the recorded ones are not, so that the demonstrations show how to recover
    (DART, Laskey et al. 2017); what was executed is in `infos["executed_action"]`. Episodes that fail are left out,
    and `remarks` tells how many.

    Args:
        env: from ``make_env("laminar/Playroom-v0?task=open_drawer")``, with relative actions.
        episodes: number of episodes to keep.
        seed: the first attempt resets with it, the next one with seed + 1, and so on.
        watch: is told of each attempt; one that failed counts for nothing.

    Raises:
        LaminarError: an environment without a task, a task without an expert, absolute actions, or an expert that
            keeps failing.
    """
    room = _scripted(env)
    kept: list[_Recording] = []
    attempts = 0
    try:
        while len(kept) < episodes:
            if attempts - len(kept) > _FAILURES + len(kept):
                failed = f"{attempts - len(kept)} of {attempts} attempts"
                raise LaminarError(f"the expert for '{room.task}' failed in {failed}")
            recording = _record(env, room, seed + attempts)
            attempts += 1
            if recording.success:
                kept.append(recording)
            watch(Finished({"success": float(recording.success)}, int(recording.success)))
    except KeyboardInterrupt:
        if not kept:
            raise
    found = _join(kept, env_spec(env), room.simulator_name)
    if attempts > len(kept):
        found.remarks.append(f"{attempts - len(kept)} of {attempts} attempts failed and were left out")
    return found


def _scripted(env: gymnasium.Env[Any, Any]) -> Scripted:
    room = as_scripted(env)
    if room is None or room.task is None:
        raise LaminarError(
            "demonstrations need one task of the playroom, such as laminar/Playroom-v0?task=open_drawer, or of CALVIN"
        )
    if not room.relative:
        raise LaminarError("scripted experts give relative actions; leave out action=absolute")
    return room


def _record(env: gymnasium.Env[Any, Any], room: Scripted, seed: int) -> _Recording:
    observation, _ = env.reset(seed=seed)
    random = np.random.default_rng([seed, 1])  # not the stream that drew the start
    recording = _Recording([observation])
    disturbance = Disturbance(random, shoves=room.task in DOORS)  # they would knock blocks over
    for action in script(str(room.task), Hand(room.room, random)):
        executed = disturbance.disturb(action)
        observation, _, terminated, truncated, info = env.step(executed)
        recording.observation.append(observation)
        recording.action.append(action)
        recording.executed.append(executed)
        if terminated or truncated:
            recording.success = bool(info["success"])
            break
    return recording


def _join(recordings: list[_Recording], spec: Spec, source: str) -> Episodes:
    ends = np.cumsum([len(recording.action) for recording in recordings])
    last = np.isin(np.arange(ends[-1]), ends - 1)
    observation, final = {}, {}
    for key, feature in spec.observation.items():
        rows = [step[key] for recording in recordings for step in recording.observation[:-1]]
        observation[key] = np.asarray(rows, feature.dtype)
        final[key] = np.asarray([recording.observation[-1][key] for recording in recordings], feature.dtype)
    return Episodes(
        observation=observation,
        final_observation=final,
        action=np.concatenate([recording.action for recording in recordings]).astype(np.float32),
        reward=last.astype(np.float32),
        terminated=last,
        truncated=np.zeros_like(last),
        ends=ends.astype(np.int64),
        spec=spec,
        success=np.ones(len(ends), bool),
        infos={"executed_action": np.concatenate([r.executed for r in recordings]).astype(np.float32)},
        source=source,
    )
