"""Demonstrations in memory: flat arrays over all steps plus episode ends, raw units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError
from .on_disk import is_on_disk, join, leave_on_disk
from .spec import Feature, Spec

Array = NDArray[Any]
TIMESTAMP = "timestamp"
"""Key of `Episodes.infos` for the time of each row, (N,) in seconds; from where they count does not matter."""


@dataclass(repr=False)
class Episodes:
    """Recorded episodes; N steps in E episodes, stored one after the other.

    Attributes:
        observation: key -> (N, ...), the observation *before* each action; a flat array has the key "observation".
            Memory-mapped images stay on disk: see `on_disk`.
        final_observation: key -> (E, ...), the observation after each episode's last action.
        action: (N, A) float32, raw units.
        reward: (N,) float32.
        terminated: (N,) bool, the task ended (no bootstrap beyond); a recording may go on after it.
        truncated: (N,) bool, time ran out (bootstrap from the final observation).
        ends: (E,) int64, exclusive index of each episode's end.
        spec: keys, shapes, units, limits.
        success: (E,) bool, or None when the file does not tell.
        has_reward: False where the file holds no rewards; `reward` is 0 then.
        infos: further arrays of N rows that readers keep (simulator states, goals, times by the key `TIMESTAMP`).
        source: where the data came from, for messages.
        remarks: what a reader had to decide, shown by `laminar inspect`.
        group: (E,) int from 0, the same for episodes that share steps; None where none do.
        tasks: (E,) text, what each episode was to do; None where the file does not tell.
        task_names: (E,) text, the task's name where `tasks` says it in many wordings, "" where an episode names none;
            None: `tasks` are names already.
    """

    observation: dict[str, Array]
    final_observation: dict[str, Array]
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    ends: Array
    spec: Spec
    success: Array | None = None
    has_reward: bool = True
    infos: dict[str, Array] = field(default_factory=lambda: {})
    source: str = "memory"
    remarks: list[str] = field(default_factory=lambda: [])
    group: Array | None = None
    tasks: Array | None = None
    task_names: Array | None = None

    def __post_init__(self) -> None:
        """Check that all arrays agree.

        Raises:
            LaminarError: names the source, the key and both sizes.
        """
        if len(self.ends) == 0 or len(self.action) == 0:
            raise LaminarError(f"{self.source}: no episodes; record some first or choose another file")
        self.observation = {key: leave_on_disk(value) for key, value in self.observation.items()}
        steps = int(self.ends[-1])
        rows: dict[str, Array] = {f"observation '{key}'": value for key, value in self.observation.items()}
        rows |= {"action": self.action, "reward": self.reward}
        rows |= {"terminated": self.terminated, "truncated": self.truncated}
        rows |= {f"infos '{key}'": value for key, value in self.infos.items()}
        for name, value in rows.items():
            if len(value) != steps:
                raise LaminarError(f"{self.source}: {name} has {len(value)} rows, but the episodes end at {steps}")
        if np.any(self.lengths <= 0):
            empty = int(np.flatnonzero(self.lengths <= 0)[0])
            raise LaminarError(f"{self.source}: episode {empty} has no steps; remove it from the file")
        for name, value in {"success": self.success, "tasks": self.tasks, "task_names": self.task_names}.items():
            if value is not None and len(value) != len(self.ends):
                raise LaminarError(f"{self.source}: {name} has {len(value)} rows for {len(self.ends)} episodes")
        self._check_shapes()
        self._check_finite(rows)

    def _check_shapes(self) -> None:
        if list(self.observation) != list(self.spec.observation):
            raise LaminarError(
                f"{self.source}: observation keys {list(self.observation)} differ from the spec's "
                f"{list(self.spec.observation)}"
            )
        for key, feature in self.spec.observation.items():
            for values in (self.observation[key], self.final_observation[key]):
                if values.shape[1:] != feature.shape:
                    raise LaminarError(
                        f"{self.source}: observation '{key}' has shape {values.shape[1:]} a step, "
                        f"the spec says {feature.shape}"
                    )
            if len(self.final_observation[key]) != len(self.ends):
                raise LaminarError(
                    f"{self.source}: final observation '{key}' has {len(self.final_observation[key])} rows "
                    f"for {len(self.ends)} episodes"
                )
        if self.action.ndim != 2 or self.action.shape[1:] != self.spec.action.shape:
            raise LaminarError(
                f"{self.source}: action has shape {self.action.shape}, the spec says (steps, *{self.spec.action.shape})"
            )

    def _check_finite(self, rows: Mapping[str, Array]) -> None:
        finals = {f"final observation '{key}'": value for key, value in self.final_observation.items()}
        for name, value in {**rows, **finals}.items():
            if name.startswith("infos") or value.dtype.kind != "f" or is_on_disk(value):
                continue
            bad = np.flatnonzero(~np.isfinite(value.reshape(len(value), -1)).all(axis=1))
            if len(bad):
                raise LaminarError(
                    f"{self.source}: {name} is not finite in {len(bad)} of {len(value)} rows, first in row {bad[0]}; "
                    "repair or remove these rows"
                )

    def __repr__(self) -> str:
        """Return what there is, not the numbers."""
        seen = ", ".join(f"{key} {value.shape[1:]}" for key, value in self.observation.items())
        return (
            f"Episodes({self.source}: {self.num_episodes} episodes, {len(self)} steps, observation {seen}, "
            f"action {self.action.shape[1:]}, {'with' if self.has_reward else 'without'} rewards)"
        )

    def __len__(self) -> int:
        """Number of steps N."""
        return len(self.action)

    @property
    def named_tasks(self) -> Array | None:
        """(E,) text, name of each episode's task, "" where it names none; None where nothing tells."""
        return self.tasks if self.task_names is None else self.task_names

    @property
    def num_episodes(self) -> int:
        """Number of episodes E."""
        return len(self.ends)

    @property
    def starts(self) -> Array:
        """(E,) index of each episode's first step."""
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])

    @property
    def lengths(self) -> Array:
        """(E,) number of steps of each episode."""
        return self.ends - self.starts

    @property
    def episode_index(self) -> Array:
        """(N,) episode that each step belongs to."""
        return np.repeat(np.arange(self.num_episodes), self.lengths)

    def returns(self) -> Array:
        """(E,) undiscounted sum of rewards, float64."""
        return np.add.reduceat(self.reward.astype(np.float64), self.starts)

    def next_observation(self, key: str) -> Array:
        """(N, ...) observation after each action; never from the next episode."""
        observation = self.observation[key]
        following = np.empty(observation.shape, observation.dtype)
        following[:-1] = observation[1:]
        following[self.ends - 1] = self.final_observation[key]
        return following

    def select(self, episodes: Sequence[int] | Array) -> Episodes:
        """Return the given episodes, in the given order."""
        chosen = np.asarray(episodes, dtype=np.int64)
        spans = [np.arange(int(self.starts[e]), int(self.ends[e])) for e in chosen]
        rows = np.concatenate(spans) if spans else np.zeros(0, np.int64)
        return replace(
            self,
            observation={key: value[rows] for key, value in self.observation.items()},
            final_observation={key: value[chosen] for key, value in self.final_observation.items()},
            action=self.action[rows],
            reward=self.reward[rows],
            terminated=self.terminated[rows],
            truncated=self.truncated[rows],
            ends=np.cumsum(self.lengths[chosen]),
            success=None if self.success is None else self.success[chosen],
            infos={key: value[rows] for key, value in self.infos.items()},
            group=None if self.group is None else self.group[chosen],
            tasks=None if self.tasks is None else self.tasks[chosen],
            task_names=None if self.task_names is None else self.task_names[chosen],
        )

    @staticmethod
    def concatenate(parts: Sequence[Episodes]) -> Episodes:
        """Join recordings of the same robot; infos that only some have are dropped with a remark.

        Raises:
            LaminarError: when the specs differ, naming the key and both sources.
        """
        if not parts:
            raise LaminarError("nothing to concatenate: give at least one file")
        first = parts[0]
        for part in parts[1:]:
            first.spec.check_compatible(part.spec, first.source, part.source)
        shapes = {key: [part.infos[key].shape[1:] for part in parts if key in part.infos] for key in first.infos}
        shared = [key for key, found in shapes.items() if len(found) == len(parts) and len(set(found)) == 1]
        dropped = sorted({key for part in parts for key in part.infos} - set(shared))
        remarks = [f"{part.source}: {remark}" for part in parts for remark in part.remarks]
        if dropped:
            remarks.append(f"infos {dropped} are not alike in every file and were left out")
        spec = _join_specs([part.spec for part in parts], remarks)
        lengths = np.concatenate([part.lengths for part in parts])
        successes = [part.success for part in parts if part.success is not None]
        tasks = [part.tasks for part in parts if part.tasks is not None]
        names = [part.named_tasks for part in parts if part.named_tasks is not None]
        named = len(names) == len(parts) and any(part.task_names is not None for part in parts)

        def join_all(field_name: str) -> Array:
            return join([getattr(part, field_name) for part in parts])

        def join_keys(field_name: str, keys: Sequence[str]) -> dict[str, Array]:
            return {key: join([getattr(part, field_name)[key] for part in parts]) for key in keys}

        return Episodes(
            observation=join_keys("observation", list(first.observation)),
            final_observation=join_keys("final_observation", list(first.observation)),
            action=join_all("action"),
            reward=join_all("reward"),
            terminated=join_all("terminated"),
            truncated=join_all("truncated"),
            ends=np.cumsum(lengths),
            spec=spec,
            success=np.concatenate(successes) if len(successes) == len(parts) else None,
            has_reward=all(part.has_reward for part in parts),
            infos=join_keys("infos", shared),
            source=" + ".join(part.source for part in parts),
            remarks=remarks,
            group=_join_groups(parts),
            tasks=np.concatenate(tasks) if len(tasks) == len(parts) else None,
            task_names=np.concatenate(names) if named else None,
        )


def _join_groups(parts: Sequence[Episodes]) -> Array | None:
    """Return groups that are the parts' own; what is in several files counts as different."""
    if all(part.group is None for part in parts):
        return None
    groups: list[Array] = []
    for part in parts:
        own = np.arange(part.num_episodes) if part.group is None else part.group
        groups.append(own + sum(int(group.max()) + 1 for group in groups[-1:]))
    return np.concatenate(groups)


def _join_specs(specs: Sequence[Spec], remarks: list[str]) -> Spec:
    """Return the first spec with what holds for all: no action limits where they differ, the rate that is known."""
    spec = specs[0]
    if len({(other.action_low, other.action_high) for other in specs}) > 1:
        spec = replace(spec, action_low=None, action_high=None)
        remarks.append("the action limits differ between the files: none are assumed")
    features = {key: _join_features([other.observation[key] for other in specs]) for key in spec.observation}
    rate_hz = next((other.rate_hz for other in specs if other.rate_hz), None)
    return replace(spec, observation=features, rate_hz=rate_hz)


def _join_features(features: Sequence[Feature]) -> Feature:
    """Return the first feature, in double precision if any of them is, as numpy joins the arrays."""
    return next((feature for feature in features if feature.dtype == "float64"), features[0])
